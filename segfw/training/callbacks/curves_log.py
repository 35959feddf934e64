"""A training's `metrics.csv`, one row per epoch, and `training.png`, its drawing, kept while it runs."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from segfw.core.errors import ArtefactError, WriteError
from segfw.tracking.curve_rows import LAST_COLUMN, METRICS_FILE, Row, read_rows, write_rows
from segfw.tracking.curves import draw_curves
from segfw.training.callbacks.epoch_metrics import epoch_metrics
from segfw.training.epoch_cost import EpochCost

CURVES_FILE = "training.png"
SECONDS_BETWEEN_DRAWINGS = 10.0
DRAWING_SHARE = 0.01  # of the time, at most: a drawing takes most of a second

log = logging.getLogger(__name__)


class CurvesLog(Callback):
    """Write one row per finished epoch and redraw the curves now and then; of several ranks only the first does.

    After an interruption the rows of epochs that are done again are dropped, so the file always reads as one training.
    """

    def __init__(self, folder: Path, cost: EpochCost, check_ownership: Callable[[], None] = lambda: None) -> None:
        self.check_ownership = check_ownership
        self.metrics, self.drawing, self.cost = folder / METRICS_FILE, folder / CURVES_FILE, cost
        self.rows: list[Row] = []
        self._epoch, self._epoch_start, self._next_drawing = 0, 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of the epochs that the checkpoint holds."""
        self._next_drawing = time.monotonic() + SECONDS_BETWEEN_DRAWINGS
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning leaves out within an epoch
        self.rows = [row for row in read_rows(self.metrics) if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch's number and start its clock."""
        self._epoch = trainer.current_epoch
        self._epoch_start = time.monotonic()
        self.cost.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add this epoch's row (Lightning calls this before checkpoints are saved).

        Reading what was logged is what gathers it, so that every rank reads it here.
        """
        logged = {key: float(value) for key, value in epoch_metrics(trainer).items() if "/" in key}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seconds = time.monotonic() - self._epoch_start
        measured = {**self.cost.measured(seconds), LAST_COLUMN: seconds}
        self.rows.append({"epoch": self._epoch, "lr": rate, **logged, **measured})
        if not trainer.is_global_zero:
            return
        self.check_ownership()
        write_rows(self.metrics, self.rows)
        if time.monotonic() > self._next_drawing:
            self._draw()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the whole training."""
        if trainer.is_global_zero:
            self._draw()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what there is, unless the run is another's by now."""
        if self.rows and trainer.is_global_zero:
            with suppress(ArtefactError):
                self.check_ownership()
                self._draw()

    def _draw(self) -> None:
        start = time.monotonic()
        try:
            draw_curves(self.rows, self.drawing)
        except WriteError as error:  # no curve is worth a training, nor the reason for which one ends
            log.warning("the curves are not drawn: %s", error)
        end = time.monotonic()
        self._next_drawing = end + max(SECONDS_BETWEEN_DRAWINGS, (end - start) / DRAWING_SHARE)
