"""The nouns of the field: a grid in space, a volume on it.

Arrays are `(C, Z, Y, X)` and `spacing[i]` belongs to spatial axis `i`, in millimetres. A 2D image is one slice: its
array is `(C, 1, Y, X)` and its first spacing is a stand-in that the reader sets (see `segfw.io`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]
Spacing = tuple[float, ...]
Shape = tuple[int, ...]
SLICE_SPACING = 999.0
"""How many times as far apart as its pixels the slices of a 2D image are taken to be: far beyond any neighbor."""


@dataclass(frozen=True)
class Geometry:
    """Where a file's voxels lie in the patient; everything needed to write a map on the same grid.

    `ndim` values each (2 or 3), in array order: entry `i` belongs to array axis `i` counted from the slowest.
    `origin` is the physical position of the first voxel as the file states it, (x, y, z) in millimetres;
    `direction[i]` is the unit vector (x, y, z) along array axis `i`. The reader only permutes the file's numbers, so
    writing gives them back bit for bit.
    """

    spacing: Spacing
    origin: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not len(self.spacing) == len(self.origin) == len(self.direction):
            raise ValueError(
                f"spacing, origin and direction must have as many entries as the image has axes, "
                f"got {len(self.spacing)}, {len(self.origin)} and {len(self.direction)}"
            )
        numbers = (*self.spacing, *self.origin, *(number for axis in self.direction for number in axis))
        if not all(math.isfinite(number) for number in numbers) or 0 in self.spacing:
            raise ValueError(
                f"spacing, origin and direction must be finite numbers and spacing not 0, "
                f"got {self.spacing}, {self.origin} and {self.direction}"
            )

    @property
    def ndim(self) -> int:
        """Number of axes of the file's image: 2 or 3."""
        return len(self.spacing)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or a label map of one case.

    `array`: `(C, Z, Y, X)`, float32 for images, integer for label maps; `spacing`: three values in millimetres,
    positive. `geometry` is None for arrays that came from no file.
    """

    array: NDArray[np.generic]
    spacing: Spacing
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 4:
            raise ValueError(
                f"a volume's array is (C, Z, Y, X), got {self.array.ndim} axes of shape {self.array.shape}"
            )
        if len(self.spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise ValueError(f"spacing is three positive numbers in millimetres, got {self.spacing}")

    @property
    def is_2d(self) -> bool:
        """Whether the file had no third axis, or a slice whose distance to others nothing states."""
        first, *plane = self.spacing
        return self.shape[0] == 1 and first >= 0.999 * SLICE_SPACING * max(plane)

    @property
    def shape(self) -> Shape:
        """Spatial shape (Z, Y, X)."""
        return self.array.shape[1:]
