from types import SimpleNamespace
from typing import Any

import pytest

from segfw.training import clock
from segfw.training.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    ticking = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: ticking.seconds))
    return ticking


def trainer(world_size: int, first_ranks_time: float | None = None) -> Any:
    """A trainer whose first rank has measured another time than this one."""
    broadcast = lambda value: value if first_ranks_time is None else first_ranks_time  # noqa: E731
    return SimpleNamespace(world_size=world_size, strategy=SimpleNamespace(broadcast=broadcast))


def test_time_before_the_start_and_of_earlier_commands(now: SimpleNamespace) -> None:
    watch = Clock()
    watch.seconds = 30.0
    assert watch.read(trainer(1)) == 30.0
    watch.start()
    now.seconds += 5
    assert watch.read(trainer(1), step=3) == 35.0
    assert watch.seconds == 35.0


def test_several_devices_read_the_first_ones_in_every_tenth_step(now: SimpleNamespace) -> None:
    watch = Clock()
    watch.start()
    now.seconds += 5
    assert [watch.read(trainer(2, 4.0), step) for step in (3, 9, 10, 11)] == [0.0, 0.0, 4.0, 4.0]
