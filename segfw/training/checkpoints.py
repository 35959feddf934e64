"""Checkpoints that are whole or absent, hold plain values only, and keep `best` right over interruptions.

nnU-Net writes its latest checkpoint before the best score of that epoch is updated, so that after resuming a worse
epoch can replace the best one. Here the score is updated, `best` is written, then `last`, which carries the score.
"""

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from segfw.core.errors import ArtefactError
from segfw.core.files import atomic_path
from segfw.training.run import BEST, LAST

MONITOR = "val/patch_dice_ema"


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Return the content of a checkpoint; nothing but tensors and plain containers is ever unpickled.

    Raises `ArtefactError` when the file is missing or damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError as error:
        raise ArtefactError(f"there is no checkpoint {path}") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise ArtefactError(
            f"the checkpoint {path} cannot be read ({str(error).splitlines()[0]}); "
            "remove it to begin again, or put a copy in its place"
        ) from error
    return content


def network_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the network's tensors of a checkpoint, on the CPU, under the network's own parameter names."""
    state = load_checkpoint(path)["state_dict"]
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoint files, made atomic and strict."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write at once or not at all."""
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read tensors and plain containers only."""
        return load_checkpoint(Path(path), map_location)


class Checkpoints(Checkpoint):
    """Save `last` every epoch and `best` whenever the moving average of the patch Dice has a new maximum."""

    def __init__(self, folder: Path, check_ownership: Callable[[], None] = lambda: None) -> None:
        self.folder, self.check_ownership = folder, check_ownership
        self.best_score: float | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save `best` on a new maximum, then `last`, which carries the best score; both only while the run is ours."""
        self.check_ownership()
        score = float(trainer.callback_metrics.get(MONITOR, math.nan))
        if not math.isnan(score) and (self.best_score is None or score > self.best_score):
            self.best_score = score
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best score of the checkpoint."""
        self.best_score = state_dict["best_score"]
