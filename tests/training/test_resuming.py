"""A training that is killed, wherever that is, ends bit for bit like one that is not, with all that has a state."""

import csv
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from segfw.core.settings.schema import NetworkSettings
from segfw.core.settings.training import OptimizerSettings, ScheduleSettings, TrainerSettings
from segfw.training.checkpoints import load_checkpoint
from segfw.training.epoch_cost import MEASURED
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun

MakeRun = Callable[..., FoldRun]
Fit = Callable[..., FoldResult]
STEPS = 5
EVERY_STEP = 1e-9


class Kill(Callback):
    """End the process' training after a step, before anything is saved of it."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            raise KeyboardInterrupt


class Steps(Callback):
    """Note which steps were made, and the learning rate of each."""

    def __init__(self) -> None:
        self.made: list[tuple[int, int]] = []
        self.rates: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.made.append((trainer.current_epoch, batch_idx))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def settings(**changes: Any) -> TrainerSettings:
    plain = TrainerSettings(
        max_epochs=3,
        limit_train_batches=STEPS,
        limit_val_batches=1,
        checkpoint_minutes=EVERY_STEP,
        enable_progress_bar=False,
    )
    return replace(plain, **changes)


def tensors(value: Any, place: str = "") -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint under its place."""
    if isinstance(value, torch.Tensor):
        return {place: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {key: tensor for name, item in items for key, tensor in tensors(item, f"{place}/{name}").items()}


def assert_same(one: Path, two: Path) -> None:
    """Equal weights, moments, averages and rates in both checkpoints; equal rows but for time and rounding."""
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (load_checkpoint(folder / "checkpoints" / name) for folder in (one, two))
        values, others = tensors(first), tensors(second)
        assert values.keys() == others.keys()
        assert [key for key in values if not torch.equal(values[key], others[key])] == []
        assert first["patch_dice_ema"] == second["patch_dice_ema"]
        groups = [content["optimizer_states"][0]["param_groups"][0] for content in (first, second)]
        assert groups[0] == groups[1]
    for row, other in zip(rows(one), rows(two), strict=True):
        assert [key for key in row if not row[key]] == [key for key in other if not other[key]]
        for key in row.keys() - {*MEASURED, "seconds"}:
            values = [float(text or "nan") for text in (row[key], other[key])]
            assert values[0] == pytest.approx(values[1], rel=1e-6, nan_ok=True), key


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


ONE_CYCLE = ScheduleSettings(name="one_cycle", warmup=0.3, interval="step")
ADAMW = OptimizerSettings(name="adamw", lr=1e-3, amsgrad=True)
CASES = {
    "published": {},
    "published, warm-up": {"schedule": ScheduleSettings(warmup=0.45)},
    "one cycle, AdamW, averaged": {
        "optimizer": ADAMW,
        "schedule": ONE_CYCLE,
        "trainer": settings(ema_half_life=0.1),
    },
    "accumulated, dropout, workers": {
        "schedule": ONE_CYCLE,
        "network": NetworkSettings("bayesian_unet"),
        "trainer": settings(accumulate_grad_batches=2, ema_half_life=0.1, check_val_every_n_epoch=2),
        "workers": 2,
    },
}


@pytest.mark.parametrize(
    ("case", "at"),
    [
        ("published", (1, 3)),
        ("published, warm-up", (1, 3)),
        ("one cycle, AdamW, averaged", (0, 2)),
        ("one cycle, AdamW, averaged", (2, 4)),
        ("accumulated, dropout, workers", (1, 4)),
    ],
)
def test_a_training_killed_within_an_epoch_ends_the_same(
    make_run: MakeRun, fit: Fit, tmp_path: Path, case: str, at: tuple[int, int]
) -> None:
    run = make_run(**{"trainer": settings(), "deterministic": True, **CASES[case]})
    fit(run, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path / "cut", Kill(*at))
    steps = Steps()
    fit(run, tmp_path / "cut", steps)
    saved = at[1] if run.trainer.accumulate_grad_batches == 1 else at[1] // 2 * 2
    assert steps.made[0] == (at[0], saved)
    assert len(steps.made) == STEPS * 3 - at[0] * STEPS - saved
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_killed_twice_in_one_epoch(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    run = make_run(trainer=settings())
    fit(run, tmp_path / "whole")
    for step in (1, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            fit(run, tmp_path / "cut", Kill(1, step))
    fit(run, tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_more_epochs_stretch_the_schedule_and_say_so(
    make_run: MakeRun, fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(trainer=settings(max_epochs=2), schedule=ScheduleSettings(interval="step"))
    fit(run, tmp_path)
    steps = Steps()
    with caplog.at_level(logging.INFO):
        fit(replace(run, trainer=settings(max_epochs=4)), tmp_path, steps)
    assert steps.rates == pytest.approx([0.01 * (1 - step / 20) ** 0.9 for step in range(10, 20)])
    assert "trainer.max_epochs was 2 and is 4" in caplog.text
    assert "goes on at 0.00536 instead of 0" in caplog.text  # 0.01 * 0.5 ** 0.9


def test_within_an_epoch_the_new_horizon_holds_at_once(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    run = make_run(trainer=settings(max_epochs=2))
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path, Kill(1, 2))
    steps = Steps()
    fit(replace(run, trainer=settings(max_epochs=4)), tmp_path, steps)
    assert steps.rates[0] == pytest.approx(0.01 * 0.75**0.9)
