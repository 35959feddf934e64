"""What is measured of an epoch: by clocks that the tests turn, and once in a real training."""

import csv
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from segfw.training import epoch_cost
from segfw.training.devices import Device
from segfw.training.epoch_cost import EpochCost, Machine, Waits
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun
from tests.training.conftest import CPU

CUDA = Device("cuda", "a card", "16-mixed", 4, "a card", 24.0)


class Clocks:
    """Both clocks of the host, turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.processor = 100.0, 50.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.processor)

    def batches(self, waits: list[float]) -> Iterator[int]:
        for number, seconds in enumerate(waits):
            self.now += seconds
            yield number


class Queue:
    """A card's queue whose events are passed at the times given, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: list[float]) -> None:
        self.times, self.waited = iter(times), 0
        queue = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing
                self.at = math.nan

            def record(self) -> None:
                self.at = next(queue.times)

            def synchronize(self) -> None:
                queue.waited += 1

            def elapsed_time(self, other: "Event") -> float:
                return (other.at - self.at) * 1000

        monkeypatch.setattr(torch.cuda, "Event", Event)


def test_only_waiting_is_counted_not_what_is_done_with_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, waits = Clocks(monkeypatch), Waits()
    for _ in waits.timed(clocks.batches([2.0, 0.5, 0.25])):
        clocks.now += 10
    assert (waits.batches, waits.seconds) == (3, 2.75)


def test_a_processor_is_busy_for_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, cost = Clocks(monkeypatch), EpochCost(Device("cpu", "CPU", "32-true", 4, "CPU"), batch_size=3)
    cost.start()
    list(cost.training.timed(clocks.batches([1.0, 1.0])))
    list(cost.validation.timed(clocks.batches([0.5])))
    clocks.processor += 12
    measured = cost.measured(6.0)
    assert {key: measured[key] for key in ("time/epoch", "time/data", "time/patches_per_second", "device/use")} == {
        "time/epoch": 6.0,
        "time/data": 2.5,
        "time/patches_per_second": 1.0,  # two batches of three in six seconds
        "device/use": 0.5,  # twelve seconds of processor time of 6 x 4
    }
    cost.start()
    assert cost.measured(1.0)["time/data"] == 0


def test_a_card_is_idle_between_the_events_of_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(monkeypatch, [0.0, 1.0, 4.0, 4.0, 6.0, 6.5, 9.0, math.inf])  # the last before there is no batch more
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7.5e9)
    clocks, cost = Clocks(monkeypatch), EpochCost(CUDA, batch_size=2)
    cost.start()
    taken = cost.training.timed(clocks.batches([1.0, 1.0, 1.0]))
    assert [next(taken), next(taken), next(taken)] == [0, 1, 2]
    assert queue.waited == 0
    measured = cost.measured(10.0)
    assert measured["device/use"] == pytest.approx(1 - (1 + 0 + 0.5) / 10)
    assert measured["time/data"] == 3
    assert measured["device/memory_gb"] == 7.5
    assert queue.waited == 1


def test_what_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_cost, "peak_memory", lambda pid: 0)
    cost = EpochCost(CPU, batch_size=2)
    cost.start()
    assert not {"device/memory_gb", "host/memory_gb"} & cost.measured(1.0).keys()
    assert cost.machine("CPU", [{"epoch": 0.0}]) == Machine("CPU", None, None)


def test_the_peak_is_that_of_every_epoch_and_of_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = EpochCost(CPU, batch_size=2)
    rows = [{"host/memory_gb": 3.0, "device/memory_gb": 9.0}, {"host/memory_gb": 2.0}]
    monkeypatch.setattr(epoch_cost, "peak_memory", lambda pid: int(2.5e9))
    assert cost.machine("", rows) == Machine("", 3.0, 9.0)
    monkeypatch.setattr(epoch_cost, "peak_memory", lambda pid: int(4e9))
    assert cost.machine("", rows) == Machine("", 4.0, 9.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_measures_every_epoch(
    make_run: Callable[..., FoldRun], fit: Callable[..., FoldResult], tmp_path: Path, workers: int
) -> None:
    result = fit(make_run(workers=workers), tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 2
    for row in rows:
        assert row["time/epoch"] == row["seconds"]
        assert 0 < row["time/data"] < row["time/epoch"]
        assert row["time/patches_per_second"] == pytest.approx(4 / row["seconds"], rel=1e-5)  # two batches of two
        assert 0 < row["device/use"] <= 1
        assert 0.05 < row["host/memory_gb"] < 64
    assert result.machine.description == "CPU, 1 thread"
    assert result.machine.memory_gb is not None
    assert result.machine.memory_gb >= rows[-1]["host/memory_gb"]
    assert result.machine.device_memory_gb is None
