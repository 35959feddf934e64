"""The measured speed is the operations of a step over the time of the fastest one."""

from itertools import accumulate

import pytest

from segfw.training import throughput
from segfw.training.devices import Device

CPU = Device("cpu", "CPU", "32-true", 1, "CPU, 1 thread")
# two convolutions of 32 x 32 features and 27 voxels on a volume of 32^3; two operations each, three passes
OPERATIONS = 3 * 2 * 2 * 32 * 32 * 27 * 32**3


@pytest.fixture(autouse=True)
def nothing_measured_yet() -> None:
    throughput.measure_flops_per_second.cache_clear()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Replace the step by nothing; one entry for each."""
    taken: list[None] = []
    monkeypatch.setattr(throughput, "_step", lambda layers, image: taken.append(None))
    return taken


def test_the_fastest_step_counts(monkeypatch, steps):
    times = accumulate([0.0, 0.05, 0.15, 0.05, 0.02, 0.02, 0.12, 0.0])  # start, then before and after each step
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(times))
    assert throughput.measure_flops_per_second(CPU) == pytest.approx(OPERATIONS / 0.02)
    assert len(steps) == 1 + 3  # the first one is not measured; after the last one the time is over


def test_a_slow_machine_is_measured_once(monkeypatch, steps):
    times = accumulate([0.0, 0.0, 5.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(times))
    assert throughput.measure_flops_per_second(CPU) == pytest.approx(OPERATIONS / 5)
    assert len(steps) == 2


def test_a_process_measures_a_device_once(steps):
    assert throughput.measure_flops_per_second(CPU) == throughput.measure_flops_per_second(CPU)
    assert len(steps) <= 1 + throughput.REPETITIONS


def test_a_real_step_gives_a_plausible_speed(monkeypatch):
    monkeypatch.setattr(throughput, "EDGE", 8)
    assert 1e6 < throughput.measure_flops_per_second(CPU) < 1e15
