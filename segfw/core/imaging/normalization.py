"""Bringing intensities of all cases to one scale, per channel. The schemes and their constants are nnU-Net's."""

from collections.abc import Callable

import numpy as np

from segfw.core.errors import DataError
from segfw.core.plan import NORMALIZATIONS, IntensityStatistics
from segfw.core.types import BoolArray, FloatArray

EPSILON = 1e-8
"""Smallest divisor, so that a constant image becomes zeros."""

Scheme = Callable[[FloatArray, BoolArray | None, IntensityStatistics], FloatArray]


def scheme_for_channel(channel_name: str) -> str:
    """Return the scheme that a channel's name asks for, in any case; z-score for names that ask for none."""
    name = channel_name.casefold()
    return name if name in NORMALIZATIONS else "zscore"


def normalize_channel(
    voxels: FloatArray, inside: BoolArray | None, scheme: str, over_dataset: IntensityStatistics
) -> FloatArray:
    """Return one channel `(Z, Y, X)` normalized by `scheme`, float32; `nonorm` may return `voxels` itself.

    `inside`: what counts for a z-score, None for all; other schemes do not ask. Hand over a view of the array that was
    read, not a copy: float32 sums depend on the memory layout, by about 1e-6.
    """
    return NORMALIZERS[scheme](voxels.astype(np.float32, copy=False), inside, over_dataset)


def _zscore(voxels: FloatArray, mask: BoolArray | None, _: IntensityStatistics) -> FloatArray:
    if mask is None:
        return _standardized(voxels)
    inside = voxels[mask]
    if inside.size:
        inside = _standardized(inside)
    scaled = voxels.copy()
    scaled[mask] = inside
    return scaled


def _standardized(voxels: FloatArray) -> FloatArray:
    mean, std = voxels.mean(), voxels.std()
    centered: FloatArray = voxels - mean
    centered /= max(std, EPSILON)
    return centered


def _ct(voxels: FloatArray, _: BoolArray | None, over_dataset: IntensityStatistics) -> FloatArray:
    clipped: FloatArray = np.clip(voxels, over_dataset.percentile_00_5, over_dataset.percentile_99_5)
    clipped -= over_dataset.mean
    clipped /= max(over_dataset.std, EPSILON)
    return clipped


def _unchanged(voxels: FloatArray, _: BoolArray | None, __: IntensityStatistics) -> FloatArray:
    return voxels


def _rescale_to_0_1(voxels: FloatArray, _: BoolArray | None, __: IntensityStatistics) -> FloatArray:
    shifted: FloatArray = voxels - voxels.min()
    shifted /= max(shifted.max(), EPSILON)
    return shifted


def _rgb_to_0_1(voxels: FloatArray, _: BoolArray | None, __: IntensityStatistics) -> FloatArray:
    low, high = float(voxels.min()), float(voxels.max())
    if low < 0 or high > 255:
        raise DataError(f"rgb_to_0_1 needs intensities between 0 and 255, got {low} to {high}")
    return voxels / np.float32(255)


NORMALIZERS: dict[str, Scheme] = {
    "ct": _ct,
    "zscore": _zscore,
    "nonorm": _unchanged,
    "rescale_to_0_1": _rescale_to_0_1,
    "rgb_to_0_1": _rgb_to_0_1,
}
