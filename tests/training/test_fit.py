import csv
import json
import logging
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping

from segfw.core.errors import JobError
from segfw.core.settings.schema import NetworkSettings
from segfw.core.settings.training import AugmentationSettings, LossSettings, SamplingSettings
from segfw.tracking.curves import draw_curves
from segfw.training.callbacks import curves_log
from segfw.training.checkpoints import network_weights
from segfw.training.epoch_cost import MEASURED
from segfw.training.fit import FoldResult, _announce
from segfw.training.run import FoldRun
from tests.training.conftest import CPU

MakeRun = Callable[..., FoldRun]
Fit = Callable[..., FoldResult]


class StopAfter(Callback):
    """Interrupt the training like a person, in the second step of an epoch."""

    def __init__(self, epoch: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.epoch, self.error = epoch, error

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.current_epoch == self.epoch:
            raise self.error


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(folder: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in (*MEASURED, "seconds")} for row in rows(folder)]


def assert_same_weights(one: Path, two: Path) -> None:
    first, second = network_weights(one), network_weights(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_fold_leaves_its_files(make_run: MakeRun, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves_log, "draw_curves", draw_curves)
    result = fit(make_run(), tmp_path)
    assert isinstance(result, FoldResult)
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "training.png", "train.log", "validation/c.nii.gz"):
        assert (tmp_path / name).is_file(), name
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.rglob(".tmp*"))
    assert (result.epochs, result.checkpoint) == (2, tmp_path / "checkpoints/last.ckpt")
    header = list(rows(tmp_path)[0])
    assert header[:6] == ["epoch", "lr", "train/loss", "val/loss", "val/patch_dice", "val/patch_dice_ema"]
    measured = ["time/epoch", "time/data", "time/patches_per_second", "device/use", "host/memory_gb"]
    assert header[6:] == ["val/patch_dice/core", "val/patch_dice/shell", *measured, "seconds"]
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "1"]
    metrics = json.loads((tmp_path / "validation/metrics.json").read_text())
    assert result.scores is not None
    assert metrics["foreground_mean"]["dice"] == result.scores.foreground_mean["dice"]
    assert "epoch 2/2  loss" in (tmp_path / "train.log").read_text()


def test_a_training_takes_every_term(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    loss = LossSettings("focal", class_weights={"core": 3}, cldice_weight=0.5, component_weight=0.5)
    fit(make_run(loss=loss), tmp_path)
    assert all(-2.5 < float(row[key]) < 2 for row in rows(tmp_path) for key in ("train/loss", "val/loss"))


def test_learning_rate_follows_the_polynomial(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    fit(make_run(max_epochs=3), tmp_path)
    rates = [float(row["lr"]) for row in rows(tmp_path)]
    assert rates == pytest.approx([0.01 * (1 - epoch / 3) ** 0.9 for epoch in range(3)], rel=1e-6)


def test_moving_average_starts_with_the_first_value(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    fit(make_run(max_epochs=3), tmp_path)
    average = None
    for row in rows(tmp_path):
        value = float(row["val/patch_dice"])
        average = value if average is None else 0.9 * average + 0.1 * value
        assert float(row["val/patch_dice_ema"]) == pytest.approx(average, abs=1e-6)


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    make_run: MakeRun, fit: Fit, tmp_path: Path, epoch: int
) -> None:
    run = make_run(max_epochs=5)
    fit(run, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path / "cut", StopAfter(epoch))
    assert (tmp_path / "cut/checkpoints/last.ckpt").is_file() == (epoch > 0)
    fit(run, tmp_path / "cut")
    assert_same_weights(tmp_path / "whole/checkpoints/last.ckpt", tmp_path / "cut/checkpoints/last.ckpt")
    assert_same_weights(tmp_path / "whole/checkpoints/best.ckpt", tmp_path / "cut/checkpoints/best.ckpt")
    assert without_seconds(tmp_path / "whole") == without_seconds(tmp_path / "cut")
    names = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*")]
    assert sorted(names) == sorted(p.relative_to(tmp_path / "cut") for p in (tmp_path / "cut").rglob("*"))


def test_dropout_follows_from_the_seed_whatever_happens(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    run = make_run(max_epochs=3, network=NetworkSettings("bayesian_unet"))
    fit(run, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path / "cut", StopAfter(1))
    torch.manual_seed(99)
    fit(run, tmp_path / "cut")
    assert_same_weights(tmp_path / "whole/checkpoints/last.ckpt", tmp_path / "cut/checkpoints/last.ckpt")


def test_rows_beyond_the_checkpoint_are_done_again(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    fit(make_run(max_epochs=2), tmp_path)
    before = (tmp_path / "metrics.csv").read_text()
    (tmp_path / "metrics.csv").write_text(before + before.splitlines()[-1].replace("1,", "2,", 1) + "\n")
    fit(make_run(max_epochs=3), tmp_path)
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "1", "2"]


def test_workers_change_nothing(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    fit(make_run(), tmp_path / "none")
    with pytest.raises(KeyboardInterrupt):
        fit(make_run(workers=2), tmp_path / "two", StopAfter(1))
    fit(make_run(workers=2), tmp_path / "two")
    assert_same_weights(tmp_path / "none/checkpoints/last.ckpt", tmp_path / "two/checkpoints/last.ckpt")


@pytest.mark.parametrize("workers", [0, 2])
def test_augmenting_on_the_host_changes_nothing_on_a_cpu(
    make_run: MakeRun, fit: Fit, tmp_path: Path, workers: int
) -> None:
    strong = AugmentationSettings(gamma_probability=1, noise_probability=1, blank_probability=1)
    fit(make_run(max_epochs=1, augmentation=strong), tmp_path / "auto")
    fit(make_run(max_epochs=1, augmentation=replace(strong, device="cpu"), workers=workers), tmp_path / "cpu")
    assert_same_weights(tmp_path / "auto/checkpoints/last.ckpt", tmp_path / "cpu/checkpoints/last.ckpt")
    fit(make_run(max_epochs=1, augmentation=replace(strong, blank_probability=0.0)), tmp_path / "other")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "auto/checkpoints/last.ckpt", tmp_path / "other/checkpoints/last.ckpt")


def test_more_epochs_extend(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    fit(make_run(max_epochs=2), tmp_path)
    first = (tmp_path / "validation/metrics.json").stat().st_mtime_ns
    result = fit(make_run(max_epochs=4), tmp_path)
    assert result.epochs == 4
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "1", "2", "3"]
    assert float(rows(tmp_path)[2]["lr"]) == pytest.approx(0.01 * 0.5**0.9, rel=1e-6)
    assert (tmp_path / "validation/metrics.json").stat().st_mtime_ns > first


def test_a_finished_training_is_only_validated(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    first = fit(make_run(max_epochs=2), tmp_path)
    weights = network_weights(first.checkpoint)
    shutil.rmtree(tmp_path / "validation")
    again = fit(make_run(max_epochs=1), tmp_path)
    assert again.epochs == 2
    assert again.scores == first.scores
    assert again.patch_dice_ema == pytest.approx(first.patch_dice_ema)
    assert all(torch.equal(value, weights[key]) for key, value in network_weights(again.checkpoint).items())


def test_full_has_no_scores(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    result = fit(make_run(fold="full", train_cases=("a", "b", "c"), val_cases=()), tmp_path)
    assert (result.scores, result.patch_dice_ema) == (None, None)
    assert not (tmp_path / "validation").exists()
    assert not (tmp_path / "checkpoints/best.ckpt").exists()
    assert "val/loss" in rows(tmp_path)[0]


def test_ctrl_c_is_not_swallowed_nor_disabled(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(make_run(), tmp_path, StopAfter(0))
    assert signal.getsignal(signal.SIGINT) is handler


def test_sigterm_ends_the_process_with_143(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    class Terminate(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        fit(make_run(), tmp_path, Terminate())
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_loss_that_is_not_finite_names_the_cases(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            next(pl_module.parameters()).data.fill_(math.nan)

    with pytest.raises(JobError, match=r"not finite in epoch 0, step 0.*cases \['[ab]'"):
        fit(make_run(), tmp_path, Spoil())


def test_the_log_goes_to_the_console_too_where_there_is_no_terminal(
    make_run: MakeRun, fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fit(make_run(), tmp_path)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("segfw")]
    assert messages[0] == "Tiny 3d_fullres fold 0: 2 training and 1 validation case, 2 epochs, on CPU, 1 thread"
    assert messages[1].startswith("epoch 1/2  loss ")
    assert any(message.startswith("validation 1/1  c  Dice core ") for message in messages)


@pytest.mark.parametrize(("supervised", "told"), [(False, 1), (True, 0)])
def test_a_nested_network_that_cannot_be_cut_says_so(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, supervised: bool, told: int
) -> None:
    run = make_run(network=NetworkSettings("unet_plus_plus"), loss=LossSettings(deep_supervision=supervised))
    with caplog.at_level(logging.INFO):
        _announce(run, CPU, None)
    assert caplog.text.count("inference.depth will not be available") == told


@pytest.mark.parametrize("validated", [True, False])
def test_early_stopping_without_validation_says_that_it_does_nothing(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, validated: bool
) -> None:
    run = make_run() if validated else make_run(fold="full", val_cases=())
    _announce(run, CPU, None, [EarlyStopping("val/patch_dice_ema")])
    assert ("never stops" in caplog.text) is not validated


def test_the_loss_of_a_repeated_batch_falls(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    run = make_run(max_epochs=6, sampling=SamplingSettings(repeat_batches=1))
    fit(run, tmp_path)
    losses = [float(row["train/loss"]) for row in rows(tmp_path)]
    assert losses[-1] < losses[0]
