"""nnU-Net's trainer with a budget and, if asked, another recipe; runs in its environment, which has no segfw.

accuracy_peer.py ORDER      ORDER: a JSON file that `accuracy_theirs.py` writes; trains and validates one fold

The published recipe is nnU-Net's own without mirroring. `fast` is segfw's: AdamW on one cycle, small shifts, brightness
and noise instead of the whole augmentation.
"""

import json
import math
import platform
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.helpers.scalar_type import RandomScalar
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

VALIDATION_BATCHES = 3
LR, WEIGHT_DECAY, WARMUP, SHIFT = 3e-3, 1e-2, 0.15, 0.1
START, END = 1 / 25, 1 / 25e4  # of the peak, before and after the cycle


class Published(nnUNetTrainer):
    """Its own trainer, without mirroring; notes when each epoch ended."""

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """Mirror nothing, in training or in prediction."""
        rotation, dummy, initial, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return rotation, dummy, initial, None

    def on_train_start(self) -> None:
        """Start the clock."""
        super().on_train_start()
        self.curve: list[tuple[int, float, float]] = []
        self.seconds, self.began = 0.0, time.perf_counter()

    def on_epoch_start(self) -> None:
        """Begin to count this epoch's time."""
        super().on_epoch_start()
        self.began = time.perf_counter()

    def on_train_epoch_end(self, train_outputs: Any) -> None:
        """Count the epoch's training, without the on-line validation, which segfw's metrics.csv counts as well."""
        super().on_train_epoch_end(train_outputs)
        self.seconds += time.perf_counter() - self.began

    def on_epoch_end(self) -> None:
        """Note the patch Dice of this epoch."""
        dice = float(self.logger.get_value("mean_fg_dice", step=self.current_epoch))
        super().on_epoch_end()
        self.curve.append((self.current_epoch * self.num_iterations_per_epoch, self.seconds, dice))


class Shift(BasicTransform):
    """Cut the patch out of a larger one: from its middle, or in half of the cases from somewhere near."""

    def __init__(self, patch_size: tuple[int, ...]) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)

    def get_parameters(self, **data: Any) -> dict[str, Any]:
        """Draw where the patch begins."""
        spare = [have - want for have, want in zip(data["image"].shape[1:], self.patch_size, strict=True)]
        moved = torch.rand(1).item() < 0.5
        starts = [int(torch.randint(0, n + 1, (1,)).item()) if moved else n // 2 for n in spare]
        return {"where": tuple(slice(start, start + n) for start, n in zip(starts, self.patch_size, strict=True))}

    def _apply_to_image(self, image: torch.Tensor, **params: Any) -> torch.Tensor:
        return image[(slice(None), *params["where"])].contiguous()

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **params: Any) -> torch.Tensor:
        return self._apply_to_image(segmentation, **params)


class Fast(Published):
    """segfw's recipe for hundreds of iterations, on nnU-Net's network, loader and loss."""

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """Cut patches a tenth larger on each side, for the shifts."""
        patch = self.configuration_manager.patch_size
        self.inference_allowed_mirroring_axes = None
        return (0.0, 0.0), False, np.array([n + 2 * round(SHIFT * n) for n in patch]), None

    @staticmethod
    def get_training_transforms(
        patch_size: Any,
        rotation_for_DA: RandomScalar,
        deep_supervision_scales: Any,
        *_: Any,
        **__: Any,
    ) -> BasicTransform:
        """Return shifts, noise and brightness, with nnU-Net's own ranges and probabilities."""
        brightness = MultiplicativeBrightnessTransform(BGContrast((0.75, 1.25)), synchronize_channels=False)
        noise = GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True)
        chain = [Shift(patch_size), RandomTransform(noise, 0.1), RandomTransform(brightness, 0.15)]
        chain.append(RemoveLabelTansform(-1, 0))
        if deep_supervision_scales is not None:
            chain.append(DownsampleSegForDSTransform(ds_scales=deep_supervision_scales))
        return ComposeTransforms(chain)

    def configure_optimizers(self) -> Any:
        """Return AdamW and its cycle."""
        optimizer = torch.optim.AdamW(self.network.parameters(), LR, weight_decay=WEIGHT_DECAY)
        return optimizer, Cycle(optimizer, self.num_epochs, self.num_iterations_per_epoch)

    def train_step(self, batch: Any) -> Any:
        """Set the step's learning rate, then train."""
        self.lr_scheduler.next()
        return super().train_step(batch)


class Cycle:
    """A learning rate that rises and falls once, by optimizer steps; nnU-Net calls `step` at the start of an epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, epochs: int, iterations: int) -> None:
        self.optimizer, self.iterations, self.total, self.done = optimizer, iterations, epochs * iterations, 0

    def step(self, epoch: int) -> None:
        """Set the rate of the epoch's first optimizer step, which nnU-Net notes as the epoch's."""
        self.done = epoch * self.iterations
        self._set()

    def next(self) -> None:
        """Set the rate of the optimizer step at hand."""
        self._set()
        self.done += 1

    def _set(self) -> None:
        progress = self.done / self.total
        rising = progress < WARMUP
        share = progress / WARMUP if rising else (progress - WARMUP) / (1 - WARMUP)
        first, last = (START, 1.0) if rising else (1.0, END)
        for group in self.optimizer.param_groups:
            group["lr"] = LR * (last + (first - last) * (1 + math.cos(math.pi * share)) / 2)


def make_trainer(order: dict[str, Any]) -> Published:
    """Seed everything as the order says; return its trainer, which is not initialized yet."""
    random.seed(order["seed"])
    np.random.seed(order["seed"])
    torch.manual_seed(order["seed"])
    torch.set_num_threads(1)
    plans = {**json.loads(Path(order["plans"]).read_text()), "continue_training": False}
    dataset = json.loads(Path(order["dataset"]).read_text())
    kind = Fast if order["recipe"] == "fast" else Published
    trainer = kind(plans, order["configuration"], order["fold"], dataset, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch = order["epochs"], order["iterations"]
    trainer.num_val_iterations_per_epoch = VALIDATION_BATCHES
    return trainer


def main(order: dict[str, Any]) -> None:
    """Train, validate whole cases with the final weights, write what was measured."""
    trainer = make_trainer(order)
    began = time.perf_counter()
    trainer.initialize()
    trainer.run_training()
    trainer.perform_actual_validation(False)
    outcome = {
        "predictions": str(Path(trainer.output_folder) / "validation"),
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, nnunetv2 {version('nnunetv2')}",
        "seconds": time.perf_counter() - began,
        "curve": trainer.curve,
        "parameters": sum(each.numel() for each in trainer.network.parameters()),
    }
    Path(order["outcome"]).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
