"""Resizing one axis as a matrix: scipy's edge-continuing grid-mode spline zoom, column by column.

Sample `j` of `n_out` lies at `(j + 0.5) * n_in / n_out - 0.5`. The zoom is linear in its input and treats one axis at a
time, so scipy's answer to each unit vector is a column of the axis' matrix, and a volume is resized by one product for
each axis.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segfw.core.types import IntArray

NEGLIGIBLE = 1e-15
"""Weights below this become 0: far tails of the spline, which as denormal numbers would slow the product down."""


class LinearAxis(NamedTuple):
    """The two source samples of each output sample and their weights."""

    low: IntArray
    high: IntArray
    low_weight: NDArray[np.float64]
    high_weight: NDArray[np.float64]


@lru_cache(maxsize=32)
def axis_operator(n_in: int, n_out: int, order: int) -> NDArray[np.float64]:
    """Return the read-only matrix `(n_out, n_in)` that resizes an axis by a spline of `order`."""
    columns = [_zoom(unit, n_out, order) for unit in np.eye(n_in)]
    operator = np.stack(columns, axis=1)
    operator[np.abs(operator) < NEGLIGIBLE] = 0
    operator.setflags(write=False)
    return operator


def nearest_indices(n_in: int, n_out: int) -> IntArray:
    """Return the source index of each output sample; positions halfway between two samples take the higher one."""
    return np.clip(np.floor(_positions(n_in, n_out) + 0.5).astype(np.intp), 0, n_in - 1)


def linear_axis(n_in: int, n_out: int) -> LinearAxis:
    """Return the order-1 operator as neighbours and weights, bit for bit those scipy works with.

    Beyond the outermost samples both neighbours are the edge, and the weights stay what they are.
    """
    positions = _positions(n_in, n_out)
    below = np.floor(positions)
    low_weight = 1.0 - (positions - below)
    low = np.clip(below.astype(np.intp), 0, n_in - 1)
    high = np.where(low_weight < 1, np.clip(below.astype(np.intp) + 1, 0, n_in - 1), low)
    return LinearAxis(low, high, low_weight, 1.0 - low_weight)


def _positions(n_in: int, n_out: int) -> NDArray[np.float64]:
    return (np.arange(n_out, dtype=np.float64) + 0.5) * (n_in / n_out) - 0.5


def _zoom(samples: NDArray[np.float64], n_out: int, order: int) -> NDArray[np.float64]:
    factor = n_out / len(samples)
    zoomed = ndimage.zoom(samples, factor, order=order, mode="nearest", grid_mode=True)
    return np.asarray(zoomed, np.float64)
