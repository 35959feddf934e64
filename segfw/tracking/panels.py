"""Slices with the contours of what is true and what was predicted, drawn without a plotting library: a second's work
for none of them.

The true contour of a label is a closed line in its colour, the predicted one a dashed line in a lighter shade of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from segfw.core.imaging.slices import to_bytes, window_of
from segfw.core.support.files import atomic_path
from segfw.core.types import BoolArray
from segfw.tracking.figures import PAPER
from segfw.tracking.trackers import Picture

SIDE = 256
"""Pixels that the longer side of a slice has at least."""
GAP = 4
DASH, WIDTH = 4, 2
_COLORS = tuple(tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in PAPER.series)

T = TypeVar("T", bound=np.generic)
Masks = Mapping[str, BoolArray]
"""Label or region -> where it is."""


def overlay(image: NDArray[np.floating], true: Masks, predicted: Masks) -> Picture:
    """Draw a slice `(rows, columns)` in grey, between its percentiles, with the contours of masks of its shape.

    It is enlarged by a whole factor until its longer side has `SIDE` pixels.
    """
    factor = max(1, -(-SIDE // max(image.shape)))
    picture = np.repeat(_grey(_enlarged(image, factor))[..., None], 3, axis=2)
    for number, name in enumerate(true):
        color = np.array(_COLORS[number % len(_COLORS)])
        picture[contour(_enlarged(true[name], factor), WIDTH)] = color
        picture[contour(_enlarged(predicted[name], factor), WIDTH) & _dashes(picture.shape)] = (color + 255) // 2
    return picture


def contour(mask: BoolArray, width: int = 1) -> BoolArray:
    """Return the pixels of `mask` that are at most `width` steps (up, down, left, right) from outside it.

    Beyond the edge is outside.
    """
    inside = mask
    for _ in range(width):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Set pictures beside one another, tops aligned, on black with a gap between them."""
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + GAP * (len(pictures) - 1)
    joint, left = np.zeros((height, width, 3), np.uint8), 0
    for picture in pictures:
        joint[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    return joint


def fullest_slice(mask: BoolArray) -> int:
    """Return the first of the slices along axis 0 that hold most of `mask`; the middle one where it is empty."""
    counts = mask.reshape(len(mask), -1).sum(axis=1)
    return int(counts.argmax()) if counts.any() else len(mask) // 2


def legend(labels: Sequence[str]) -> str:
    """Say which colour is which label."""
    colors = ("blue", "orange", "green", "purple", "yellow", "pink")
    named = ", ".join(f"{colors[number % len(colors)]} {label}" for number, label in enumerate(labels))
    return f"{named}; closed line: true, dashed: predicted"


def save_picture(picture: Picture, path: Path) -> None:
    """Write `picture` as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        imsave(temporary, picture, format="png")


def _enlarged(array: NDArray[T], factor: int) -> NDArray[T]:
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def _grey(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = window_of(image)
    return to_bytes(image, low, high) if high > low else np.zeros(image.shape, np.uint8)


def _dashes(shape: tuple[int, ...]) -> BoolArray:
    rows, columns = np.indices(shape[:2])
    return np.asarray((rows + columns) // DASH % 2 == 0, bool)
