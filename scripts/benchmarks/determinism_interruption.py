"""A callback that interrupts a training as Ctrl-C does; for `determinism.py`."""

from pytorch_lightning import Callback, LightningModule, Trainer


class InterruptAfter(Callback):
    """Interrupt the first step of the epoch after `epoch`."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Raise `KeyboardInterrupt` when it is time."""
        if trainer.current_epoch > self.epoch:
            raise KeyboardInterrupt
