"""Changing the voxel grid by nnU-Net's rules: splines for images, a vote for labels, nearest across a coarse axis."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segfw.core.imaging.axis_operators import axis_operator, nearest_indices
from segfw.core.imaging.label_resizing import map_label_axis, resize_label
from segfw.core.plan import Resampling
from segfw.core.types import FloatArray, IntArray, Shape, Spacing

__all__ = [
    "GridChange",
    "axis_operator",
    "nearest_indices",
    "resample_channel",
    "resample_label",
    "resampled_shape",
    "separate_axis",
]

ANISOTROPY = 3.0
"""Spacings whose ratio exceeds this have a coarse axis that is not interpolated together with the others."""


def resampled_shape(shape: Shape, spacing: Spacing, new_spacing: Spacing) -> Shape:
    """Return the extent in voxels at `new_spacing`: divided first, then multiplied, halves to even, at least 1."""
    return tuple(max(1, round(old / new * n)) for n, old, new in zip(shape, spacing, new_spacing, strict=True))


def separate_axis(spacing: Spacing, new_spacing: Spacing, force: bool | None = None) -> int | None:
    """Return the coarse axis that is resampled apart from the others, or None.

    `force`: None follows the anisotropy of the old spacing, then of the new one; true takes the old spacing's coarsest
    axis whatever its ratio; false never separates. Two or three equally coarse axes are not separated.
    """
    if force is False:
        return None
    if force or _anisotropic(spacing):
        deciding = spacing
    elif _anisotropic(new_spacing):
        deciding = new_spacing
    else:
        return None
    coarse = [axis for axis, s in enumerate(deciding) if s == max(deciding)]
    return coarse[0] if len(coarse) == 1 else None


class AxisChange(NamedTuple):
    """One axis of a volume resized to `extent` samples by a spline of `order` (0: nearest)."""

    axis: int
    extent: int
    order: int


@dataclass(frozen=True)
class GridChange:
    """How a channel is brought to another grid: `changes` in turn, clipping, then the coarse axis, if one is apart.

    `ranges_over`: axes over which the values' range before is taken, per slice of a coarse axis; None: no clipping.
    """

    changes: tuple[AxisChange, ...]
    ranges_over: tuple[int, ...] | None
    apart: AxisChange | None

    @classmethod
    def between(
        cls, shape: Shape, new_shape: Shape, spacing: Spacing, new_spacing: Spacing, resampling: Resampling
    ) -> "GridChange":
        """Decide by the method's rule. The axis that shrinks most comes first: what follows is smaller."""
        across = separate_axis(spacing, new_spacing, resampling.force_separate_z)
        together = tuple(axis for axis in range(len(shape)) if axis != across)
        order = resampling.order_image
        changed = sorted((a for a in together if shape[a] != new_shape[a]), key=lambda a: new_shape[a] / shape[a])
        return cls(
            changes=tuple(AxisChange(axis, new_shape[axis], order) for axis in changed),
            ranges_over=together if order and changed else None,
            apart=None
            if across is None or shape[across] == new_shape[across]
            else AxisChange(across, new_shape[across], resampling.order_z),
        )


def resample_channel(
    volume: FloatArray, new_shape: Shape, spacing: Spacing, new_spacing: Spacing, resampling: Resampling
) -> FloatArray:
    """Resample one channel `(Z, Y, X)` to `new_shape`, limited to its range of values before; same dtype.

    The same array comes back when the shape does not change. float32 and float16 are computed in float32, which differs
    from the reference's float64 by about 1e-6 of the range. A volume that the caller keeps no name for is given up
    after the first product: beside it, at most its share of that is held.
    """
    new_shape, dtype = tuple(new_shape), volume.dtype
    if volume.shape == new_shape:
        return volume
    grid = GridChange.between(volume.shape, new_shape, spacing, new_spacing, resampling)
    volume = np.ascontiguousarray(volume, np.promote_types(dtype, np.float32))
    low = high = None
    if grid.ranges_over is not None:
        low, high = volume.min(axis=grid.ranges_over, keepdims=True), volume.max(axis=grid.ranges_over, keepdims=True)
    for change in grid.changes:
        volume = _resize_axis(volume, change)
    if grid.ranges_over is not None:
        np.clip(volume, low, high, out=volume)
    if grid.apart is not None:
        volume = _resize_axis(volume, grid.apart)
    return volume.astype(dtype, copy=False)


def resample_label(
    label: IntArray, new_shape: Shape, spacing: Spacing, new_spacing: Spacing, resampling: Resampling
) -> IntArray:
    """Resize a label map `(1, ...)` to `new_shape`; same dtype, and the same array when the shape does not change."""
    new_shape = tuple(new_shape)
    if label.shape[1:] == new_shape:
        return label
    axis = separate_axis(spacing, new_spacing, resampling.force_separate_z)
    if axis is None:
        return resize_label(label[0], new_shape, resampling.order_label)[None]
    in_plane = (*new_shape[:axis], label.shape[1 + axis], *new_shape[axis + 1 :])
    slices = resize_label(label[0], in_plane, resampling.order_label)
    return map_label_axis(slices, axis, new_shape[axis], resampling.order_z)[None]


def _resize_axis(volume: FloatArray, change: AxisChange) -> FloatArray:
    n_in = volume.shape[change.axis]
    if change.order == 0:
        return volume.take(nearest_indices(n_in, change.extent), change.axis)
    return _apply_operator(volume, change.axis, axis_operator(n_in, change.extent, change.order))


def _apply_operator(volume: FloatArray, axis: int, operator: NDArray[np.float64]) -> FloatArray:
    """Multiply the lines of a volume along `axis`: one matrix product, batched for inner axes, without copies."""
    matrix = operator.astype(volume.dtype)
    before, n_in, after = int(np.prod(volume.shape[:axis])), volume.shape[axis], int(np.prod(volume.shape[axis + 1 :]))
    if after == 1:
        product = volume.reshape(before, n_in) @ matrix.T
    else:
        product = np.matmul(matrix, volume.reshape(before, n_in, after))
    return product.reshape(*volume.shape[:axis], len(matrix), *volume.shape[axis + 1 :])


def _anisotropic(spacing: Spacing) -> bool:
    return max(spacing) / min(spacing) > ANISOTROPY
