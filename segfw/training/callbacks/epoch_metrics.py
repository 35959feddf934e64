"""What was logged in an epoch: Lightning keeps the values of the last validation through epochs that have none."""

from pytorch_lightning import Trainer
from torch import Tensor


def epoch_metrics(trainer: Trainer) -> dict[str, Tensor]:
    """Return the epoch's metrics by name, those of validation only where this epoch was validated."""
    validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    return {key: value for key, value in trainer.callback_metrics.items() if validated or not key.startswith("val/")}
