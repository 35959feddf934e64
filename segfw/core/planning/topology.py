"""Where a network pools and how wide its kernels are: the answer to the voxel spacing and the patch size.

The rules are those published with nnU-Net (Isensee et al. 2021, Methods, "Inferred parameters", and the planning
section of the supplement): pool every axis as long as its feature map allows, hold back axes whose voxels are still
coarse, and let a kernel span a coarse axis only once the others have caught up with it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segfw.core.types import Shape, Spacing

MIN_FEATURE_MAP_EDGE = 4
POOLING_SPACING_RATIO = 2.0


@dataclass(frozen=True)
class Topology:
    """Strides and kernels, one row per stage; the patch, padded to a multiple of `divisor`, the strides' product."""

    strides: tuple[Shape, ...]
    kernel_sizes: tuple[Shape, ...]
    patch_size: Shape
    divisor: Shape


def make_topology(spacing: Sequence[float], size: Sequence[float]) -> Topology:
    """Derive strides and kernels for patches of about `size` voxels (fractions allowed) of `spacing` millimetres."""
    ndim = len(spacing)
    current, edges, kernel, divisor = list(spacing), list(size), (1,) * ndim, [1] * ndim
    full = (3,) * ndim
    strides, kernels = [(1,) * ndim], []
    while axes := _poolable_axes(current, edges):
        if kernel != full:
            kernel = _grow_kernel(kernel, current)
        row = [1] * ndim
        for axis in axes:
            row[axis] = 2
            divisor[axis] *= 2
            current[axis] *= 2
            edges[axis] = math.ceil(edges[axis] / 2)
        strides.append(tuple(row))
        kernels.append(kernel)
    kernels.append(full)
    return Topology(tuple(strides), tuple(kernels), padded_size(size, divisor), tuple(divisor))


def padded_size(size: Sequence[float], divisor: Sequence[int]) -> Shape:
    """Return the smallest multiples of `divisor` that hold `size`."""
    return tuple(math.ceil(n / d) * d for n, d in zip(size, divisor, strict=True))


def _poolable_axes(spacing: Spacing | list[float], edges: list[float]) -> list[int]:
    """Name the axes to halve next; none ends the encoder.

    Rule (nnU-Net v2 planning): an axis is halved while half of it is at least 4 voxels and its voxels are less than
    twice as long as the finest among such axes. A single remaining axis must hold 12 voxels.
    """
    large = [axis for axis, edge in enumerate(edges) if edge >= 2 * MIN_FEATURE_MAP_EDGE]
    if not large:
        return []
    finest = min(spacing[axis] for axis in large)
    axes = [axis for axis in large if spacing[axis] / finest < POOLING_SPACING_RATIO]
    if len(axes) == 1 and edges[axes[0]] < 3 * MIN_FEATURE_MAP_EDGE:
        return []
    return axes


def _grow_kernel(kernel: Shape, spacing: list[float]) -> Shape:
    """Widen the kernel from 1 to 3 along axes whose voxels are less than twice as long as the finest; never back."""
    finest = min(spacing)
    return tuple(
        3 if width == 3 or s / finest < POOLING_SPACING_RATIO else 1 for width, s in zip(kernel, spacing, strict=True)
    )


def widened_kernel(kernel: Shape) -> Shape:
    """Return V-Net's kernel where the plan has `kernel`: 5 for 3; axes of width 1 stay apart."""
    return tuple(width + 2 if width > 1 else 1 for width in kernel)
