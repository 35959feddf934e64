"""The grid a dataset is resampled to: target spacing, order of axes and the sizes that follow.

Rules of Isensee et al. 2021 (Methods, "Inferred parameters": target spacing; supplement, anisotropic datasets), as
nnU-Net v2 plans them.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from segfw.core.errors import UsageError
from segfw.core.plan import Fingerprint
from segfw.core.support.ranges import is_between
from segfw.core.types import Shape, Spacing

ANISOTROPY_THRESHOLD = 3.0
COARSE_AXIS_PERCENTILE = 10.0
SMALLEST_SPACING, LARGEST_SPACING = 1e-6, 1e7
"""Millimetres, from electron microscopy to satellites: within these no rule overflows, and none takes long.

A pixel may have ten metres; the reader sets slices of 2D files 999 times as far apart.
"""


def target_spacing(fingerprint: Fingerprint) -> Spacing:
    """Return the full-resolution spacing (Z, Y, X), millimetres: the median of the dataset, unless one axis is coarse.

    Rule: a coarse axis takes the 10th percentile instead, so that few cases lose resolution, but stays coarser than
    the other axes.
    """
    median = median_spacing(fingerprint)
    coarse = coarse_axis(median, median_shape(fingerprint))
    if coarse is None:
        return median
    along = coarse_percentile(fingerprint, coarse)
    finer = max(s for axis, s in enumerate(median) if axis != coarse)
    chosen = finer + 1e-5 if along < finer else along
    return tuple(chosen if axis == coarse else s for axis, s in enumerate(median))


def median_spacing(fingerprint: Fingerprint) -> Spacing:
    """Return the median over the cases of their spacing, millimetres (Z, Y, X)."""
    return tuple(float(value) for value in np.percentile(np.array(fingerprint.spacings, float), 50, axis=0))


def median_shape(fingerprint: Fingerprint) -> tuple[float, ...]:
    """Return the median over the cases of their shape as it is on disk, cropped to nonzero, voxels (Z, Y, X)."""
    return tuple(float(value) for value in np.percentile(np.array(fingerprint.shapes_after_crop, float), 50, axis=0))


def coarse_axis(spacing: Spacing, shape: tuple[float, ...]) -> int | None:
    """Return the axis of largest spacing if that is more than three times the others' and it has few voxels.

    Rule: few are less than a third of the others'.
    """
    worst = spacing.index(max(spacing))
    others = [axis for axis in range(len(spacing)) if axis != worst]
    is_coarse = spacing[worst] > ANISOTROPY_THRESHOLD * max(spacing[axis] for axis in others)
    few_voxels = shape[worst] * ANISOTROPY_THRESHOLD < min(shape[axis] for axis in others)
    return worst if is_coarse and few_voxels else None


def coarse_percentile(fingerprint: Fingerprint, axis: int) -> float:
    """Return the 10th percentile of the cases' spacings along `axis`."""
    return float(np.percentile([spacing[axis] for spacing in fingerprint.spacings], COARSE_AXIS_PERCENTILE))


def given_spacing(values: Sequence[float]) -> Spacing:
    """Check a target spacing given by the user; `UsageError` unless it is three positive numbers."""
    numbers = tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else values
    known = isinstance(numbers, tuple) and len(numbers) == 3
    if not known or not all(is_between(number, SMALLEST_SPACING, LARGEST_SPACING) for number in numbers):
        raise UsageError(
            f"target_spacing must be three positive numbers in millimetres (Z, Y, X), from {SMALLEST_SPACING:g} to "
            f"{LARGEST_SPACING:g}, got {numbers!r}"
        )
    return tuple(float(number) for number in numbers)


def axis_order(spacing: Spacing, transpose: bool = True) -> tuple[Shape, Shape]:
    """Return the planned order of axes and its inverse. Rule: the axis of largest spacing goes first."""
    first = spacing.index(max(spacing)) if transpose else 0
    forward = (first, *(axis for axis in range(len(spacing)) if axis != first))
    return forward, tuple(forward.index(axis) for axis in range(len(spacing)))


def median_resampled_shape(fingerprint: Fingerprint, target: Spacing) -> tuple[float, ...]:
    """Return the median over the cases of their shape at `target` spacing (Z, Y, X).

    Each case's shape is rounded half to even, as resampling does, and is at least one voxel.
    """
    spacings = np.array(fingerprint.spacings, float)
    shapes = np.array(fingerprint.shapes_after_crop, float)
    resampled = np.maximum(np.rint(spacings / np.array(target) * shapes), 1)
    return tuple(float(value) for value in np.median(resampled, axis=0))
