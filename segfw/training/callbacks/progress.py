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
from segfw.training.signs import SignsOfLife

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
    """How long the rest of the training takes, from what this process has measured; newer epochs count more.

    `training` and `validation`: seconds of an epoch's training steps, and of an on-line validation, which not every
    epoch has.
    """

    training: float | None = None
    validation: float | None = None

    def add_training(self, seconds: float, share: float = 1.0) -> None:
        """Take an epoch's training steps into account, or the `share` of them that was left after an interruption."""
        if share > 0:
            self.training = _blended(self.training, seconds / share)

    def add_validation(self, seconds: float) -> None:
        """Take one more on-line validation into account."""
        self.validation = _blended(self.validation, seconds)

    def left(self, epochs: float, validations: int, share: float = 0.0, elapsed: float = 0.0) -> float | None:
        """Return the seconds of so many `epochs` (of parts, too) and on-line `validations` that are still to be done.

        Before an epoch is finished, the `share` of it that took `elapsed` seconds tells. None before anything was
        measured; a validation counts once one was.
        """
        epoch = self.training or (elapsed / share if share > 0 else None)
        return None if epoch is None else epoch * epochs + (self.validation or 0.0) * validations


def _blended(before: float | None, seconds: float) -> float:
    return seconds if before is None else 0.7 * before + 0.3 * seconds


class TrainingProgress(Callback):
    """Show loss, patch Dice and the time left.

    `record` takes the line of each epoch where the console shows a bar; elsewhere the line is logged. `seconds_left`:
    what is left of a training that is measured by time. `signs` are told as well. The time left is that of training:
    the validation of whole cases, which follows, is named beside it where there is one (`then_validates`).
    """

    def __init__(
        self,
        title: str,
        console: Console,
        show_bar: bool,
        record: Callable[[str], None],
        seconds_left: Callable[[], float] | None = None,
        signs: SignsOfLife | None = None,
        then_validates: bool = False,
    ) -> None:
        self.title, self._seconds_left, self._signs = title, seconds_left, signs
        self._beside = ", then whole-case validation" if then_validates else ""
        self.pace = Pace()
        self._emit = record if show_bar and console.is_terminal else log.info
        self._bar: Progress | None = None
        if show_bar and console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, console=console, transient=True)
        self._epoch, self._epoch_start, self._last_update = 0, 0.0, 0.0
        self._begun_at = 0.0  # the share of the epoch that an earlier command has done
        self._ended: float | None = None  # when the epoch before this one had, in this process
        self._validation_start = self._validation_seconds = 0.0
        self._text = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning leaves out within an epoch
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        self._begun_at = done / max(1, int(trainer.num_training_batches))
        if self._bar:
            self._bar.start()
            total = None if trainer.max_epochs == -1 else trainer.max_epochs
            self._bar.add_task(self.title, total=total, completed=trainer.current_epoch, text="")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock, at the end of the one before: checkpoints are written in between."""
        self._epoch = trainer.current_epoch
        self._epoch_start = time.monotonic() if self._ended is None else self._ended
        self._begun_at = self._validation_seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, at most twice a second, and give a sign of life."""
        now = time.monotonic()
        share = (batch_idx + 1) / max(1, int(trainer.num_training_batches))
        if self._signs is not None and self._signs.due:
            self._signs.train(self._epoch + share, _limit(trainer), self._left(trainer, share, now))
        if self._bar is None or now - self._last_update < SECONDS_BETWEEN_UPDATES:
            return
        self._last_update = now
        text = f"{self._number(trainer)}{self._text}{self._left_text(trainer, share, now)}"
        self._bar.update(self._bar.task_ids[0], completed=self._epoch + share, text=text)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the on-line validation."""
        self._validation_start = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the on-line validation apart: not every epoch has one."""
        self._validation_seconds = time.monotonic() - self._validation_start
        self.pace.add_validation(self._validation_seconds)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Emit the epoch's line."""
        now = time.monotonic()
        seconds = now - self._epoch_start
        self.pace.add_training(seconds - self._validation_seconds, 1 - self._begun_at)
        self._ended = now
        metrics = epoch_metrics(trainer)
        shown = (("loss", "train/loss"), ("val/loss", "val/loss"), ("val/patch_dice", "val/patch_dice"))
        self._text = "".join(f"  {name} {float(metrics[key]):.4f}" for name, key in shown if key in metrics)
        self._emit(f"{self._number(trainer)}{self._text}  {seconds:.1f} s{self._left_text(trainer, 1.0, now)}")
        if self._signs is not None:
            self._signs.train(self._epoch + 1.0, _limit(trainer), self._left(trainer, 1.0, now), urgent=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar."""
        self._stop()

    def _number(self, trainer: Trainer) -> str:
        """Say which epoch this is; of how many, where they are limited."""
        limit = _limit(trainer)
        return f"epoch {self._epoch + 1}" + ("" if limit is None else f"/{limit}")

    def _left(self, trainer: Trainer, share: float, now: float) -> float | None:
        """Return the seconds that training will still take when `share` of the epoch's steps are done."""
        limit = _limit(trainer)
        if self._seconds_left is not None or limit is None:
            return None if self._seconds_left is None else self._seconds_left()
        every = trainer.check_val_every_n_epoch or 1
        done = self._epoch + int(share == 1.0)  # whose validation is over, too, when their line is emitted
        validations = limit // every - done // every if trainer.num_val_batches else 0
        elapsed = now - self._epoch_start - self._validation_seconds
        return self.pace.left(limit - self._epoch - share, validations, share - self._begun_at, elapsed)

    def _left_text(self, trainer: Trainer, share: float, now: float) -> str:
        left = self._left(trainer, share, now)
        return "" if left is None else f"  left {spoken_time(left)}{self._beside}"

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()


def _limit(trainer: Trainer) -> int | None:
    """Return how many epochs there will be, None where time is the limit."""
    return None if trainer.max_epochs in (None, -1) else trainer.max_epochs
