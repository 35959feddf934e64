"""A run as trackers are told of it, and what they are told, for their tests."""

from pathlib import Path

import numpy as np

from segfw.tracking.curve_rows import FIRST_COLUMNS, LAST_COLUMN
from segfw.tracking.trackers import Picture, TrackedRun
from segfw.training.epoch_cost import MEASURED

NAMES = (*FIRST_COLUMNS[1:], "val/patch_dice/liver", *MEASURED, LAST_COLUMN)
"""What a row of metrics.csv holds beside its epoch."""


def tracked_run(root: Path, fold: int = 0, **config: object) -> TrackedRun:
    """The run of a fold of Tiny under `root`."""
    folder = root / "runs" / f"fold_{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"optimizer.lr": 0.01, "trainer.max_epochs": 3, **config}
    return TrackedRun(
        "Tiny", "Tiny-default-3d_fullres", f"main fold {fold}", "train", folder, root, ("a", "b"), settings
    )


def values(epoch: int, shift: float = 0.0) -> dict[str, float]:
    """A row's values of an epoch: each metric another number."""
    return {name: epoch + number / 64 + shift for number, name in enumerate(NAMES)}


def picture(red: int = 255) -> Picture:
    """Two rows of three pixels, the first of them red."""
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0, 0] = red
    return pixels
