"""How far the training is and how long it will still take: a bar on a terminal, one line per epoch elsewhere."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from segfw.training.callbacks.epoch_metrics import epoch_metrics

log = logging.getLogger(__name__)

SECONDS_BETWEEN_UPDATES = 0.5


def spoken_time(seconds: float) -> str:
    """Return a duration as people say it: "40 s", "12 min", "3 h 5 min"."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass
class Pace:
    """How long the rest of the training takes, from the epochs of this process; newer epochs count more."""

    epoch_seconds: float | None = None

    def add_epoch(self, seconds: float) -> None:
        """Take one more finished epoch into account."""
        self.epoch_seconds = seconds if self.epoch_seconds is None else 0.7 * self.epoch_seconds + 0.3 * seconds

    def left(self, epochs: int, share: float, elapsed: float) -> float | None:
        """Return the seconds of `epochs` further ones and the rest of this one, `share` of which took `elapsed`.

        None before anything was measured.
        """
        whole = self.epoch_seconds or (elapsed / share if share > 0 else None)
        return None if whole is None else whole * (epochs + 1 - share)


class TrainingProgress(Callback):
    """Show loss, patch Dice and the time left.

    `record` takes the line of each epoch where the console shows a bar; elsewhere the line is logged. `seconds_left`:
    what is left of a training that is measured by time.
    """

    def __init__(
        self,
        title: str,
        console: Console,
        show_bar: bool,
        record: Callable[[str], None],
        seconds_left: Callable[[], float] | None = None,
    ) -> None:
        self.title, self._seconds_left = title, seconds_left
        self.pace = Pace()
        self._emit = record if show_bar and console.is_terminal else log.info
        self._bar: Progress | None = None
        if show_bar and console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, console=console, transient=True)
        self._epoch, self._epoch_start, self._last_update = 0, 0.0, 0.0
        self._text = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning leaves out within an epoch
        if self._bar:
            self._bar.start()
            total = None if trainer.max_epochs == -1 else trainer.max_epochs
            self._bar.add_task(self.title, total=total, completed=trainer.current_epoch, text="")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._epoch = trainer.current_epoch
        self._epoch_start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, at most twice a second."""
        now = time.monotonic()
        if self._bar is None or now - self._last_update < SECONDS_BETWEEN_UPDATES:
            return
        self._last_update = now
        share = (batch_idx + 1) / max(1, int(trainer.num_training_batches))
        text = f"{self._number(trainer)}{self._text}{self._left(trainer, share, now)}"
        self._bar.update(self._bar.task_ids[0], completed=self._epoch + share, text=text)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Emit the epoch's line."""
        now = time.monotonic()
        seconds = now - self._epoch_start
        self.pace.add_epoch(seconds)
        metrics = epoch_metrics(trainer)
        shown = (("loss", "train/loss"), ("val/loss", "val/loss"), ("val/patch_dice", "val/patch_dice"))
        self._text = "".join(f"  {name} {float(metrics[key]):.4f}" for name, key in shown if key in metrics)
        left = self._left(trainer, 1.0, now)
        self._emit(f"{self._number(trainer)}{self._text}  {seconds:.1f} s{left}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar."""
        self._stop()

    def _number(self, trainer: Trainer) -> str:
        """Say which epoch this is; of how many, where they are limited."""
        return f"epoch {self._epoch + 1}" + ("" if trainer.max_epochs == -1 else f"/{trainer.max_epochs}")

    def _left(self, trainer: Trainer, share: float, now: float) -> str:
        if self._seconds_left is not None:
            return f"  left {spoken_time(self._seconds_left())}"
        epochs = int(trainer.max_epochs or 0) - self._epoch - 1
        left = self.pace.left(epochs, share, now - self._epoch_start)
        return "" if left is None else f"  left {spoken_time(left)}"

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
