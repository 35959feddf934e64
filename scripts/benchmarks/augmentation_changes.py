"""The image that both programs augment, and what is noted of each change; numpy only, for two environments."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Label = NDArray[np.int16]
Draw = Callable[[int], list[tuple[Image, Label]]]

# The network's patch of each case, and whether it is rotated in plane only.
CASES = {"3d": ((20, 24, 16), False), "in_plane": ((6, 24, 20), True), "2d": ((28, 24), False)}
TRANSFORMS = (
    "noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma", "mirror",
)  # fmt: skip
LABELS = (-1, 0, 1, 2)
UNCHANGED = 1e-6
AT_ONCE = 50


def make_patch(shape: tuple[int, ...]) -> tuple[Image, Label]:
    """Make two channels of blobs and noise, and a label map with an outside of -1."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in shape], indexing="ij"))
    near = np.exp(-((place - 0.1) ** 2).sum(0) / 0.02)
    far = np.exp(-((place + 0.12) ** 2).sum(0) / 0.05)
    image = np.stack([2 * near - far, far + 0.5 * near]) + rng.normal(0, 0.2, (2, *shape))
    label = np.where(near > 0.4, 1, np.where(far > 0.5, 2, 0))
    label[:2] = -1
    return image.astype(np.float32), label[None].astype(np.int16)


def center(array: NDArray[np.generic], size: tuple[int, ...]) -> NDArray[np.generic]:
    """Cut the central `size` of the last axes."""
    starts = [p // 2 - n // 2 for p, n in zip(array.shape[1:], size, strict=True)]
    return array[(slice(None), *(slice(a, a + n) for a, n in zip(starts, size, strict=True)))]


def note_changes(before: Image, draw: Draw, count: int) -> dict[str, list[float]]:
    """Return name -> [mean, standard error] over `count` draws.

    `frequency`: share of draws that changed the first channel. Of these: the mean, standard deviation, minimum and
    maximum of the change; `label_x`: share of the label in the result.
    """
    rows = []
    for _ in range(0, count, AT_ONCE):
        for image, label in draw(AT_ONCE):
            change = image[0].astype(np.float64) - before[0]
            shares = [(label == value).mean() for value in LABELS]
            rows.append(
                [np.abs(change).max() > UNCHANGED, change.mean(), change.std(), change.min(), change.max(), *shares]
            )
    table = np.array(rows, np.float64)
    changed = table[table[:, 0] > 0, 1:]
    noted = {"frequency": _mean(table[:, 0])}
    names = ("mean", "deviation", "minimum", "maximum", *(f"label_{value}" for value in LABELS))
    return noted | {name: _mean(column) for name, column in zip(names, changed.T, strict=True)}


def _mean(values: NDArray[np.float64]) -> list[float]:
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))]
