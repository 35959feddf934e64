"""Whether two files of a case lie on one grid: shape, spacing, origin and direction, each with the size of its error.

Sizes are relative to the first grid, so that one tolerance fits microscopes and whole bodies: spacing and origin in
its voxels, directions as differences of cosines. Messages say millimetres and degrees besides. No tolerance accepts
axes turned by more than about 3 degrees: one that is wide for positions would else let a flipped label map pass.
"""

import math
from dataclasses import dataclass

import numpy as np

from segfw.core.support.words import by
from segfw.core.types import Geometry, Volume

GRID_KINDS = ("shape", "axes", "spacing", "origin", "direction")
"""What `verify.fix` may repair."""
LARGEST_TURN = 0.05
"""Difference of cosines beyond which no tolerance goes; a flip is one of 2, a quarter turn one of 1."""
LARGEST_SHIFT = 0.5
"""Voxels from which on a larger tolerance is no longer proposed: the voxels' neighbors would be nearer."""


@dataclass(frozen=True)
class Difference:
    """One way in which a grid differs from the first; `message` is to follow the name of the other file and a colon."""

    kind: str
    message: str


def compare_grids(
    first: Volume, other: Volume, tolerance: float, positioned: bool = True, spaced: bool = True
) -> list[Difference]:
    """Return every difference above `tolerance` (shapes: any; directions: `LARGEST_TURN` at most).

    `positioned`, `spaced`: whether both files state where their voxels lie, and how large these are; PNG states
    neither.
    """
    found = []
    if other.shape != first.shape:
        found.append(Difference("shape", f"{by(other.shape)} voxels (z, y, x), the image {by(first.shape)}"))
    if not positioned or first.geometry is None or other.geometry is None:
        return found + (_compare_spacing(first.spacing, other.spacing, tolerance) if spaced else [])
    here, there = first.geometry, other.geometry
    if here.ndim != there.ndim:
        return [*found, Difference("axes", f"a {there.ndim}D file, the image a {here.ndim}D one")]
    return [
        *found,
        *_compare_spacing(here.spacing, there.spacing, tolerance),
        *_compare_origin(here, there, tolerance),
        *_compare_direction(here, there, min(tolerance, LARGEST_TURN)),
    ]


def accepting(size: float) -> str:
    """Return `size` rounded up to two digits: the tolerance that accepts it."""
    step = 10.0 ** (math.floor(math.log10(size)) - 1)
    for digits in (math.ceil(size / step), math.ceil(size / step) + 1):
        text = f"{digits * step:.2g}"
        if float(text) >= size:
            break
    return text


def _compare_spacing(here: tuple[float, ...], there: tuple[float, ...], tolerance: float) -> list[Difference]:
    off = np.abs(np.subtract(there, here))
    axis = int((off / np.abs(here)).argmax())
    size = float(off[axis] / abs(here[axis]))
    if size <= tolerance:
        return []
    unit = "voxel" if f"{size:.3g}" == "1" else "voxels"
    found = f"spacing {by(there)} mm, the image {by(here)}: "
    return [Difference("spacing", f"{found}{size:.3g} {unit} ({off[axis]:.3g} mm) off{_remedy(size, LARGEST_SHIFT)}")]


def _compare_origin(here: Geometry, there: Geometry, tolerance: float) -> list[Difference]:
    off = np.subtract(there.origin, here.origin)
    size = float(np.abs((np.array(here.direction) @ off) / np.array(here.spacing)).max())
    if size <= tolerance:
        return []
    unit = "voxel" if f"{size:.3g}" == "1" else "voxels"
    distance = float(np.linalg.norm(off))
    found = f"origin {_point(there.origin)} mm, the image {_point(here.origin)}: "
    return [Difference("origin", f"{found}{size:.3g} {unit} ({distance:.3g} mm) off{_remedy(size, LARGEST_SHIFT)}")]


def _compare_direction(here: Geometry, there: Geometry, tolerance: float) -> list[Difference]:
    first, other = np.array(here.direction), np.array(there.direction)
    size = float(np.abs(other - first).max())
    if size <= tolerance:
        return []
    cosines = (first * other).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(other, axis=1))
    angle = float(np.rad2deg(np.arccos(np.clip(cosines, -1, 1)).max()))
    found = f"axes turned by up to {angle:.3g} degrees: cosines {size:.3g} off"
    return [Difference("direction", f"{found}{_remedy(size, LARGEST_TURN)}")]


def _remedy(size: float, largest: float) -> str:
    """Return the tolerance that accepts a small difference; of a large one, where to read on."""
    if size < largest:
        return f"; verify.tolerance={accepting(size)} accepts it"
    return "; too far for a tolerance, use verify.fix"


def _point(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value + 0.0:.6g}' for value in values)})"
