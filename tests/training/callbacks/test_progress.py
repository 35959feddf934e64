import io
import logging
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from segfw.training.callbacks.progress import Pace, TrainingProgress, spoken_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (59.4, "59 s"), (59.9, "1 min"), (720, "12 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min")],
)
def test_spoken_time(seconds: float, text: str) -> None:
    assert spoken_time(seconds) == text


def test_pace_is_measured() -> None:
    pace = Pace()
    assert pace.left(epochs=9, share=0.0, elapsed=0.0) is None
    assert pace.left(epochs=9, share=0.5, elapsed=5.0) == pytest.approx(95)  # 10 s an epoch: 9.5 are left
    pace.add_epoch(20)
    assert pace.left(epochs=3, share=1.0, elapsed=20) == 60
    pace.add_epoch(10)
    assert pace.left(epochs=1, share=1.0, elapsed=10) == pytest.approx(0.7 * 20 + 0.3 * 10)


@pytest.mark.parametrize("terminal", [True, False])
def test_one_line_per_epoch_or_a_bar(terminal: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    screen, recorded = io.StringIO(), list[str]()
    console = Console(file=screen, force_terminal=terminal, width=120)
    progress = TrainingProgress("Task04 2d fold 0", console, True, recorded.append)
    metrics = {"train/loss": torch.tensor(-0.41), "val/patch_dice": torch.tensor(0.63)}
    trainer = SimpleNamespace(
        max_epochs=3, current_epoch=0, num_training_batches=2, callback_metrics=metrics, check_val_every_n_epoch=1
    )
    progress.on_train_start(trainer, None)  # type: ignore[arg-type]
    progress.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    progress.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    progress.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    progress.on_train_end(trainer, None)  # type: ignore[arg-type]
    lines = recorded if terminal else caplog.messages
    assert lines[0].startswith("epoch 1/3  loss -0.4100  val/patch_dice 0.6300  0.0 s  left ")
    assert len(recorded) + len(caplog.messages) == 1
    assert ("Task04 2d fold 0" in screen.getvalue()) == terminal
