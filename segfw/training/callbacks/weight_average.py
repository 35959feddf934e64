"""A moving average of the network's weights, which is what validates, is kept as `best`, and becomes the model.

The average forgets by the share of the training that has passed: an old weight counts half after `half_life` of it. So
one number suits short and long trainings, and those measured by time. At the start, where that would hold on to the
random weights, the average forgets faster: by (1 + n) / (10 + n) in its step n, as TensorFlow's does.
"""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from segfw.training.module import SegmentationModule

RAW_KEY = "raw_weights"


def kept_share(passed: float, half_life: float, updates: int) -> float:
    """Return how much of the average stays after `passed` of the training, at its update number `updates` from 0."""
    by_progress: float = 0.5 ** (passed / half_life)
    return min(by_progress, (1 + updates) / (10 + updates))


class WeightAverage(Callback):
    """Average the network's weights after each step of the optimizer.

    Checkpoints hold the average where weights are looked for, and the weights that are trained beside it.
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self.average: dict[str, Tensor] = {}
        self._steps, self._updates, self._progress = 0, 0, 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights as they are, or take the saved average to their device."""
        own = _floats(pl_module)
        self.average = {name: self.average.get(name, weight).to(weight, copy=True) for name, weight in own.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count steps from here."""
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average if the optimizer has made a step."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        assert isinstance(pl_module, SegmentationModule)
        every = trainer.accumulate_grad_batches
        progress = pl_module.progress(-(-(batch_idx + 1) // every) * every)  # the epoch's last step may have fewer
        own = _floats(pl_module)
        kept = kept_share(max(0.0, progress - self._progress), self.half_life, self._updates)
        torch._foreach_lerp_(list(self.average.values()), [own[name] for name in self.average], 1 - kept)
        self._progress, self._updates = progress, self._updates + 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the average be validated."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give back the weights that are trained."""
        self._swap(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the network."""
        self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the average has come."""
        return {"updates": self._updates, "progress": self._progress}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._updates, self._progress = state_dict["updates"], state_dict["progress"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average where weights are looked for, and the trained weights beside it."""
        state = checkpoint["state_dict"]
        checkpoint[RAW_KEY] = {name: state[name] for name in self.average}
        checkpoint["state_dict"] = {**state, **self.average}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take both back; Lightning has put the average into the network."""
        raw = checkpoint[RAW_KEY]
        self.average = {name: checkpoint["state_dict"][name].clone() for name in raw}
        own = _floats(pl_module)
        for name, weight in raw.items():
            own[name].copy_(weight)

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        own = _floats(pl_module)
        for name, average in self.average.items():
            trained = own[name].clone()
            own[name].copy_(average)
            average.copy_(trained)


def _floats(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's parameters, detached, by the names that its `state_dict` gives them."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.is_floating_point()}
