"""A callback that interrupts a training as Ctrl-C does; for `determinism.py`."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer


class InterruptOnce(Callback):
    """Interrupt the epoch after `epoch` in its first step, unless the file `mark` says that this was done."""

    def __init__(self, epoch: int, mark: str) -> None:
        self.epoch, self.mark = epoch, Path(mark)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Raise `KeyboardInterrupt` when it is time."""
        if trainer.current_epoch > self.epoch and not self.mark.exists():
            self.mark.touch()
            raise KeyboardInterrupt
