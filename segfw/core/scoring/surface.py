"""How far the surfaces of two masks lie from each other, in millimetres.

The surface of a mask is its border voxels: those with a voxel outside the mask among the neighbours that share a face,
where everything beyond the image counts as outside (an axis of a single voxel, as in 2D images, is not looked along).
Distances go from the centre of each border voxel to the nearest one of the other mask. From these, in both directions:

- HD95: the larger of the two directions' 95th percentiles (interpolated linearly), as in MONAI. DeepMind's
  surface-distance weighs the voxels by the surface they cover, medpy takes one percentile of both directions together.
- ASSD: the mean over the border voxels of both masks (Heimann et al. 2009), as in MONAI and medpy.
- NSD: the share of both masks' border voxels that lie within the tolerance of the other's (Nikolov et al. 2021, there
  over surface elements; over border voxels as in MONAI). They
  take as tolerance what two experts differ by, organ by organ.

Rule for masks without a voxel: one empty mask has no distance (NaN) and an NSD of 0; two give NaN throughout.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from segfw.core.types import BoolArray, FloatArray, IntArray

_REACH = 8
"""Within so many voxels of the coarsest axis, neighbours are looked for in a tree: quick there, whatever the shapes."""

_DENSE = 16
"""Surfaces that fill more than this part (1/16) of the box, as noise does, are no case for a tree."""

_VISITS = 16
"""Points of a tree that are visited in the time that the distance transform takes for a voxel (15 to 30 measured)."""


@dataclass(frozen=True)
class SurfaceAgreement:
    """Distances in millimetres and the share of the surfaces within the tolerance; NaN where undefined."""

    hd95: float
    assd: float
    nsd: float


def compare_surfaces(
    reference: BoolArray,
    prediction: BoolArray,
    spacing: Sequence[float],
    tolerance_mm: float,
    axes: Sequence[int] | None = None,
) -> SurfaceAgreement:
    """Compare two masks of one shape.

    `spacing`: millimetres per axis. `axes`: along which the image has more than one voxel; None: those of the masks.
    The masks may be cut to a box that holds both. Up to about 20 bytes are needed per voxel of it.
    """
    present = (bool(reference.any()), bool(prediction.any()))
    if not all(present):
        return SurfaceAgreement(math.nan, math.nan, 0.0 if any(present) else math.nan)
    axes = [axis for axis, size in enumerate(reference.shape) if size > 1] if axes is None else axes
    borders = border(reference, axes), border(prediction, axes)
    step = np.asarray(spacing, np.float64)
    there, back = nearest_distances(*borders, step), nearest_distances(*borders[::-1], step)
    both = np.concatenate([there, back])
    return SurfaceAgreement(
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd=float(both.mean()),
        nsd=float((both <= tolerance_mm * (1 + 1e-9)).mean()),  # a distance equal to it counts, however rounded
    )


def border(mask: BoolArray, axes: Sequence[int]) -> BoolArray:
    """Return the voxels of `mask` with a neighbour along one of `axes` that is outside it, or outside the array."""
    inner = mask.copy()
    for axis in axes or range(mask.ndim):
        own, target = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        target[1:] &= own[:-1]
        target[:-1] &= own[1:]
        target[[0, -1]] = False
    return np.asarray(mask & ~inner)


def nearest_distances(start: BoolArray, goal: BoolArray, spacing: FloatArray) -> FloatArray:
    """Return how far each voxel of `start`, in C order, is from the nearest voxel of `goal`, in millimetres.

    Surfaces that lie close are searched in a tree of points, several times quicker than the exact distance transform of
    the whole box, which takes over where the tree could be slow. Both give the same distances.
    """
    if np.count_nonzero(start) + np.count_nonzero(goal) > start.size // _DENSE:
        return _by_transform(start, goal, spacing)
    points, goals = np.argwhere(start), np.argwhere(goal)
    places, tree = points * spacing, cKDTree(goals * spacing)
    long_axes = [step for step, size in zip(spacing, start.shape, strict=True) if size > 1]
    index = tree.query(places, distance_upper_bound=_REACH * max(long_axes, default=1.0))[1]
    far = index == len(goals)
    found = np.empty(len(points))
    found[~far] = _lengths(points[~far] - goals[index[~far]], spacing)
    if far.sum() * len(goals) <= _VISITS * start.size:
        found[far] = _lengths(points[far] - goals[tree.query(places[far])[1]], spacing)
    else:
        found[far] = _by_transform(start, goal, spacing)[far]
    return found


def _by_transform(start: BoolArray, goal: BoolArray, spacing: FloatArray) -> FloatArray:
    """Return the same distances from the exact distance transform, which names the nearest voxel of `goal`."""
    nearest = ndimage.distance_transform_edt(~goal, sampling=spacing, return_distances=False, return_indices=True)
    squares = np.zeros(np.count_nonzero(start))
    for offsets, places, step in zip(nearest, np.ogrid[tuple(map(slice, start.shape))], spacing, strict=True):
        offsets -= places
        squares += (offsets[start] * step) ** 2
    return np.asarray(np.sqrt(squares))


def _lengths(offsets: IntArray, spacing: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(((offsets * spacing) ** 2).sum(axis=1)))
