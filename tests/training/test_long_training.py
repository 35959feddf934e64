"""Thirty epochs hold no more than ten: the short form of `scripts/benchmarks/leaks.py`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from scripts.benchmarks.census import COUNTS, Census, memory_per_sample, take_census
from segfw.tracking.fan_out import telling
from segfw.tracking.tensorboard_log import open_tensorboard
from segfw.training.callbacks.trackers_log import TrackersLog
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO
from tests.tracking.tracked import tracked_run

SETTLED = 10
"""Epochs after which every library is loaded."""


class Sampling(Callback):
    """Take a census at the beginning of each epoch."""

    def __init__(self) -> None:
        self.samples: list[Census] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add one."""
        self.samples.append(take_census(os.getpid()))


def test_handles_threads_and_processes_stay_the_same(
    make_run: Callable[..., FoldRun],
    fit: Callable[..., FoldResult],
    io: FoldIO,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("t")))  # short: sockets lie there
    run, census = make_run(max_epochs=30, workers=1), Sampling()
    with telling({"tensorboard": lambda: open_tensorboard(tracked_run(tmp_path))}, ("images",)) as trackers:
        fit(run, tmp_path / "fold", TrackersLog(run, tmp_path / "fold", io, trackers, 1), census)
    settled = census.samples[SETTLED:]
    assert len(settled) == 30 - SETTLED
    assert settled[0].children >= 2  # that load training patches, and those of validation
    for name in COUNTS:
        assert len({getattr(each, name) for each in settled}) == 1, name
    assert memory_per_sample(census.samples) < 300e3
    assert take_census(os.getpid()).children == settled[0].children - 2
