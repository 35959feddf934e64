"""Starts the validation on whole cases when the last epoch is done."""

from collections.abc import Callable
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from segfw.core.scoring.metrics import Summary
from segfw.core.support.ranks import ALONE, Ranks
from segfw.training.ranks import LongWait
from segfw.training.run import FoldRun
from segfw.training.signs import SignsOfLife
from segfw.training.validation import FoldIO, Share, validate_fold


class FoldValidation(Callback):
    """Call `validate_fold` with the final weights; also when a finished training is only resumed for its validation.

    `signs` are told how far it is.
    """

    def __init__(
        self,
        run: FoldRun,
        folder: Path,
        io: FoldIO,
        checkpoint: Path,
        ranks: Ranks = ALONE,
        signs: SignsOfLife | None = None,
    ) -> None:
        self.run, self.folder, self.io, self.checkpoint, self.ranks = run, folder, io, checkpoint, ranks
        self._signs = signs
        self.summary: Summary | None = None
        self.began = False
        self._wait: Callable[[], None] = lambda: None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree with the other ranks, while they are all here, on where to wait for their cases."""
        self._wait = LongWait()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate on the device of the training (Lightning still holds the network there)."""
        self.began = True
        network = pl_module.network
        assert isinstance(network, nn.Module)
        if self._signs is None:
            share = Share(self.ranks, self._wait)
        else:
            share = Share(self.ranks, self._wait, self._signs.validate)
        self.summary = validate_fold(self.run, network, self.folder, self.io, self.checkpoint, share)
