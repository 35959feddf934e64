import io
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from segfw.training.callbacks.progress import Pace, TrainingProgress, spoken_time
from segfw.training.signs import SignsOfLife, load_progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (59.4, "59 s"), (59.9, "1 min"), (720, "12 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min")],
)
def test_spoken_time(seconds: float, text: str) -> None:
    assert spoken_time(seconds) == text


def test_pace_is_measured() -> None:
    pace = Pace()
    assert pace.left(10, 0) is None
    assert pace.left(epochs=9.5, validations=0, share=0.5, elapsed=5.0) == pytest.approx(95)  # 10 s an epoch
    pace.add_training(20)
    assert pace.left(3, 0) == 60
    pace.add_training(10)
    assert pace.left(1, 0) == pytest.approx(0.7 * 20 + 0.3 * 10)


def test_validations_that_not_every_epoch_has_are_counted_apart() -> None:
    pace = Pace()
    pace.add_training(10)
    pace.add_validation(4)
    assert pace.left(epochs=6, validations=2) == 6 * 10 + 2 * 4


def test_the_rest_of_an_epoch_that_an_earlier_command_began_is_no_whole_epoch() -> None:
    pace = Pace()
    pace.add_training(5, share=0.25)  # a quarter took 5 s
    assert pace.left(2, 0) == 40
    pace.add_training(1, share=0.0)
    assert pace.left(2, 0) == 40


def trainer_of(**changes: object) -> SimpleNamespace:
    values = {
        "max_epochs": 3, "current_epoch": 0, "num_training_batches": 2, "callback_metrics": {},
        "check_val_every_n_epoch": 1, "num_val_batches": [1], "fit_loop": at_batch(0),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def at_batch(ready: int) -> SimpleNamespace:
    progress = SimpleNamespace(current=SimpleNamespace(ready=ready))
    return SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))


def test_time_left_after_a_resume_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((0.0, 10.0, 10.0, 12.0, 20.0))
    monkeypatch.setattr("segfw.training.callbacks.progress.time", SimpleNamespace(monotonic=lambda: next(now)))
    signs = SignsOfLife(tmp_path / "progress.json", lambda: 0.0)
    progress = TrainingProgress("t", Console(file=io.StringIO()), False, lambda text: None, None, signs)
    trainer = trainer_of(
        max_epochs=4, current_epoch=1, num_training_batches=10, fit_loop=at_batch(5), num_val_batches=[]
    )
    progress.on_train_start(trainer, None)  # type: ignore[arg-type]
    progress.on_train_batch_end(trainer, None, None, None, 5)  # type: ignore[arg-type]
    told = load_progress(tmp_path / "progress.json")
    assert told is not None
    assert told.epochs_done == pytest.approx(1.6)
    assert told.seconds_left == pytest.approx(240)  # a tenth of an epoch took 10 s, 2.4 epochs are left


def test_time_left_with_rare_validation_and_with_what_lies_between_epochs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("segfw.training.callbacks.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    progress = TrainingProgress("t", Console(file=io.StringIO()), False, lambda text: None, then_validates=True)
    trainer = trainer_of(max_epochs=10, check_val_every_n_epoch=2)
    progress.on_train_start(trainer, None)  # type: ignore[arg-type]
    for epoch, validates in enumerate((False, True)):
        trainer.current_epoch = epoch
        progress.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        clock.now += 60
        if validates:
            progress.on_validation_start(trainer, None)  # type: ignore[arg-type]
            clock.now += 30
            progress.on_validation_end(trainer, None)  # type: ignore[arg-type]
        progress.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
        clock.now += 20  # a checkpoint is written
    assert caplog.messages[0].endswith("60.0 s  left 9 min, then whole-case validation")  # 9 epochs of a minute
    # epoch 2: 20 s of checkpoint, 60 of training; 8 further of 0.7 * 60 + 0.3 * 80 = 66 s, and 4 validations of 30 s
    assert caplog.messages[1].endswith("110.0 s  left 11 min, then whole-case validation")
    assert progress.pace.left(8, 4) == pytest.approx(8 * 66 + 4 * 30)


@pytest.mark.parametrize("terminal", [True, False])
def test_one_line_per_epoch_or_a_bar(terminal: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    screen, recorded = io.StringIO(), list[str]()
    console = Console(file=screen, force_terminal=terminal, width=120)
    progress = TrainingProgress("Task04 2d fold 0", console, True, recorded.append)
    metrics = {"train/loss": torch.tensor(-0.41), "val/patch_dice": torch.tensor(0.63)}
    trainer = trainer_of(callback_metrics=metrics)
    progress.on_train_start(trainer, None)  # type: ignore[arg-type]
    progress.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    progress.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    progress.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    progress.on_train_end(trainer, None)  # type: ignore[arg-type]
    lines = recorded if terminal else caplog.messages
    assert lines[0].startswith("epoch 1/3  loss -0.4100  val/patch_dice 0.6300  0.0 s  left ")
    assert len(recorded) + len(caplog.messages) == 1
    assert ("Task04 2d fold 0" in screen.getvalue()) == terminal
