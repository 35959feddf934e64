"""Changing the voxel grid by nnU-Net's rules: splines for images, a vote for labels, nearest across a coarse axis."""

import numpy as np
from numpy.typing import NDArray

from segfw.core.axis_operators import axis_operator, nearest_indices
from segfw.core.label_resizing import map_label_axis, resize_label
from segfw.core.plan import Resampling
from segfw.core.types import FloatArray, IntArray, Shape, Spacing

__all__ = ["axis_operator", "nearest_indices", "resample_image", "resample_label", "resampled_shape", "separate_axis"]

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


def resample_image(
    image: FloatArray, new_shape: Shape, spacing: Spacing, new_spacing: Spacing, resampling: Resampling
) -> FloatArray:
    """Resize each channel of `(C, ...)` to `new_shape`, limited to its range of values before; same dtype.

    The same array comes back when the shape does not change. float32 and float16 are computed in float32, which differs
    from the reference's float64 by about 1e-6 of the range.
    """
    new_shape = tuple(new_shape)
    if image.shape[1:] == new_shape:
        return image
    axis = separate_axis(spacing, new_spacing, resampling.force_separate_z)
    resized = np.empty((len(image), *new_shape), image.dtype)
    for channel, volume in enumerate(image):
        computed = np.ascontiguousarray(volume, np.promote_types(volume.dtype, np.float32))
        resized[channel] = _resize_volume(computed, new_shape, axis, resampling.order_image, resampling.order_z)
    return resized


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


def _resize_volume(volume: FloatArray, shape: Shape, axis: int | None, order: int, order_z: int) -> FloatArray:
    if axis is None:
        return _resize_limited(volume, shape, order, tuple(range(volume.ndim)))
    in_plane = (*shape[:axis], volume.shape[axis], *shape[axis + 1 :])
    plane_axes = tuple(other for other in range(volume.ndim) if other != axis)
    slices = _resize_limited(volume, in_plane, order, plane_axes)
    if slices.shape == shape:
        return slices
    if order_z == 0:
        return slices.take(nearest_indices(volume.shape[axis], shape[axis]), axis)
    return _apply_operator(slices, axis, axis_operator(volume.shape[axis], shape[axis], order_z))


def _resize_limited(volume: FloatArray, shape: Shape, order: int, axes: tuple[int, ...]) -> FloatArray:
    """Resize `axes` and limit to the values over them: the volume's range, or each slice's where one is left out."""
    changed = [axis for axis in axes if volume.shape[axis] != shape[axis]]
    resized = volume
    for axis in sorted(changed, key=lambda axis: shape[axis] / volume.shape[axis]):  # the smallest product comes first
        if order == 0:
            resized = resized.take(nearest_indices(volume.shape[axis], shape[axis]), axis)
        else:
            resized = _apply_operator(resized, axis, axis_operator(volume.shape[axis], shape[axis], order))
    if order == 0 or not changed:
        return resized
    low, high = volume.min(axis=axes, keepdims=True), volume.max(axis=axes, keepdims=True)
    return np.clip(resized, low, high, out=resized)


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
