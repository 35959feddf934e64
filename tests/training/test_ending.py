"""How trainings end: with the last epoch, with their budget of time, early; and what the same command then does."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import Callback, LightningModule, Trainer

from segfw.core.errors import JobError, UsageError
from segfw.core.settings.training import ScheduleSettings
from segfw.training import clock
from segfw.training import fit as fitting
from segfw.training.callbacks import fold_validation
from segfw.training.callbacks.own import build_callbacks
from segfw.training.checkpoints import load_checkpoint, network_weights
from segfw.training.ending import Ended, Standing
from segfw.training.fit import FoldResult, fit_fold
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO
from tests.training.conftest import CPU
from tests.training.test_resuming import Kill, Steps, rows, settings

MakeRun = Callable[..., FoldRun]
Fit = Callable[..., FoldResult]
CONFIGS = Path(__file__).parents[2] / "configs"


class Hours(Callback):
    """Let the clock advance by ten seconds with every training step, and by none otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        self.now += 10.0


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    ticking = Hours()
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: ticking.now))
    return ticking


def timed(make_run: MakeRun, budget: str) -> FoldRun:
    """Epochs of five steps, of which there may be any number."""
    schedule = ScheduleSettings("cosine", interval="step", horizon="time")
    return make_run(trainer=settings(max_epochs=1, max_time=budget, ema_half_life=0.2), schedule=schedule)


def cosine(share: float) -> float:
    return 0.01 * (1 + math.cos(math.pi * share)) / 2


def test_a_budget_of_time_shapes_the_rate_and_ends_the_training(
    make_run: MakeRun, fit: Fit, tmp_path: Path, hours: Hours
) -> None:
    steps = Steps()
    result = fit(timed(make_run, "00:00:01:00"), tmp_path, hours, steps)
    assert steps.made == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]  # 60 s of 10 s each
    assert steps.rates == pytest.approx([cosine(step / 6) for step in range(6)])
    assert result.ended == Ended("time", "trained for 1 min, as trainer.max_time allows")
    assert (result.epochs, result.seconds) == (2, 60.0)
    assert result.scores is not None
    assert len(rows(tmp_path)) == 2


def test_the_same_command_then_does_nothing_and_a_larger_budget_extends(
    make_run: MakeRun, fit: Fit, tmp_path: Path, hours: Hours
) -> None:
    first = fit(timed(make_run, "00:00:01:00"), tmp_path, hours)
    steps = Steps()
    again = fit(timed(make_run, "00:00:01:00"), tmp_path, hours, steps)
    assert (steps.made, again.ended, again.seconds) == ([], first.ended, 60.0)
    assert again.scores == first.scores
    more = fit(timed(make_run, "00:00:02:00"), tmp_path, hours, steps)
    assert steps.made == [(2, step) for step in range(5)] + [(3, 0)]
    assert steps.rates == pytest.approx([cosine(step / 12) for step in range(6, 12)])
    assert (more.ended.kind, more.seconds, more.epochs) == ("time", 120.0, 4)


def test_time_goes_on_where_it_stood(make_run: MakeRun, fit: Fit, tmp_path: Path, hours: Hours) -> None:
    run = timed(make_run, "00:00:01:00")
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path, hours, Kill(0, 3))
    hours.now = 5e5  # much later
    steps = Steps()
    assert fit(run, tmp_path, hours, steps).seconds == 60.0
    assert steps.made == [(0, 3), (0, 4), (1, 0)]


def test_a_schedule_over_time_needs_a_budget(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match=r"needs a budget, trainer\.max_time=DD:HH:MM:SS, got null"):
        make_run(schedule=ScheduleSettings(horizon="time"))


def test_a_limit_of_the_command_stops_between_steps_and_changes_nothing(
    make_run: MakeRun, fit: Fit, io: FoldIO, tmp_path: Path
) -> None:
    run = make_run(trainer=settings(max_epochs=2, limit_train_batches=2, checkpoint_minutes=10.0))
    whole = fit(run, tmp_path / "whole")
    for where in ("in epoch 1", "after epoch 1", "in epoch 2"):
        with pytest.raises(JobError, match=f"max_time is over, {where}; .* the same command goes on from there"):
            fit_fold(run, tmp_path / "cut", CPU, io, deadline=-math.inf)
    steps = Steps()
    cut = fit_fold(run, tmp_path / "cut", CPU, io, [steps], deadline=-math.inf)  # what is left is the end of the epoch
    assert steps.made == [(1, 1)]
    assert cut.ended == Ended("epochs")
    weights, others = network_weights(whole.checkpoint), network_weights(cut.checkpoint)
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def early_stopping(**changes: Any) -> Iterator[Callback]:
    """The callback that configs/callbacks/early_stopping.yaml names, more impatient."""
    (entry,) = yaml.safe_load((CONFIGS / "callbacks/early_stopping.yaml").read_text()).values()
    yield from build_callbacks({"early_stopping": {**entry, **changes}})


def test_a_training_that_stops_early_is_finished(
    make_run: MakeRun, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    run, patience = make_run(trainer=settings(max_epochs=9)), {"patience": 2, "min_delta": 2.0}  # no Dice rises by 2
    validate = fold_validation.validate_fold
    monkeypatch.setattr(fold_validation, "validate_fold", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path, *early_stopping(**patience))
    weights = network_weights(tmp_path / "checkpoints/last.ckpt")
    monkeypatch.setattr(fold_validation, "validate_fold", validate)
    steps = Steps()
    result = fit(run, tmp_path, *early_stopping(**patience), steps)
    assert steps.made == []
    assert (result.epochs, result.ended.kind) == (3, "early")
    assert "val/patch_dice_ema" in result.ended.reason
    assert not result.ended.reason.endswith(".")
    assert result.scores is not None
    assert all(torch.equal(value, weights[key]) for key, value in network_weights(result.checkpoint).items())
    assert fit(replace(run, trainer=settings(max_epochs=20)), tmp_path, *early_stopping(**patience), steps).epochs == 3
    assert steps.made == []


def test_patience_is_kept_over_an_interruption(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    run = make_run(trainer=settings(max_epochs=9))
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path, *early_stopping(patience=3, min_delta=2.0), Kill(2, 1))
    assert fit(run, tmp_path, *early_stopping(patience=3, min_delta=2.0)).epochs == 4


def test_a_callback_that_stops_without_a_word(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.should_stop = True

    assert fit(make_run(), tmp_path, Stop()).ended == Ended("early", "a callback asked to stop")


@pytest.mark.parametrize(
    ("standing", "budget", "limit"),
    [
        (Standing(0, 0.0, None, None), None, 3),
        (Standing(5, 9.0, 5, None), None, 5),
        (Standing(2, 9.0, 5, Ended("early")), None, 2),
        (Standing(2, 59.0, 3, Ended("time")), "00:00:01:00", -1),
        (Standing(2, 60.0, 3, Ended("time")), "00:00:01:00", 2),
    ],
)
def test_how_many_epochs_are_left(make_run: MakeRun, standing: Standing, budget: str | None, limit: int) -> None:
    run = make_run(trainer=settings()) if budget is None else timed(make_run, budget)
    assert standing.limit(run) == limit


def test_where_a_training_stands_is_in_its_checkpoint(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    result = fit(make_run(max_epochs=2), tmp_path)
    standing = fitting.standing_of(load_checkpoint(result.checkpoint))
    assert (standing.epochs, standing.max_epochs, standing.ended) == (2, 2, None)
    assert standing.seconds == result.seconds > 0
