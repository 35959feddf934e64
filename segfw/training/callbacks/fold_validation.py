"""Starts the validation on whole cases when the last epoch is done."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from segfw.core.metrics import Summary
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO, validate_fold


class FoldValidation(Callback):
    """Call `validate_fold` with the final weights; also when a finished training is only resumed for its validation."""

    def __init__(self, run: FoldRun, folder: Path, io: FoldIO, checkpoint: Path) -> None:
        self.run, self.folder, self.io, self.checkpoint = run, folder, io, checkpoint
        self.summary: Summary | None = None
        self.began = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate on the device of the training (Lightning still holds the network there)."""
        self.began = True
        network = pl_module.network
        assert isinstance(network, nn.Module)
        self.summary = validate_fold(self.run, network, self.folder, self.io, self.checkpoint)
