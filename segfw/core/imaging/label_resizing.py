"""Resizing label maps: each label's indicator is interpolated, the label with the highest score wins.

An exact tie goes to the nearest neighbour if it is among the winners, else to the smallest label, as batchgenerators
0.25.5 does for nnU-Net. The marker -1 is a label like any other.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from segfw.core.imaging.axis_operators import LinearAxis, axis_operator, linear_axis, nearest_indices
from segfw.core.types import IntArray, Shape

VOXELS_PER_STEP = 1 << 16
"""Output voxels voted on at a time: bounds the memory of a vote to some 10 MB."""


def resize_label(label: IntArray, shape: Shape, order: int) -> IntArray:
    """Resize a label map `(Z, Y, X)` to `shape`; axes whose extent stays are left alone, whatever the order."""
    if order == 0:
        return _nearest(label, shape)
    if order == 1:
        return _resize_linear(label, shape)
    return _resize_by_scores(label, shape, order)


def map_label_axis(label: IntArray, axis: int, extent: int, order: int) -> IntArray:
    """Resize a coarse axis: by nearest neighbours, or for higher orders each label painted above 0.5, ascending."""
    if label.shape[axis] == extent:
        return label
    if order == 0:
        return label.take(nearest_indices(label.shape[axis], extent), axis)
    operator = axis_operator(label.shape[axis], extent, order)
    painted = np.zeros((*label.shape[:axis], extent, *label.shape[axis + 1 :]), label.dtype)
    for value in np.unique(label):
        score = np.moveaxis(np.tensordot(operator, (label == value).astype(np.float64), (1, axis)), 0, axis)
        painted[np.round(score) > 0.5] = value
    return painted


def _nearest(label: IntArray, shape: Shape) -> IntArray:
    return label[np.ix_(*(nearest_indices(n_in, n_out) for n_in, n_out in zip(label.shape, shape, strict=True)))]


def _resize_linear(label: IntArray, shape: Shape) -> IntArray:
    """Vote only where the source voxels around a sample disagree: at surfaces, a few per cent of a volume."""
    axes = [linear_axis(n_in, n_out) for n_in, n_out in zip(label.shape, shape, strict=True)]
    smallest = largest = label
    for axis in sorted(range(label.ndim), key=lambda axis: shape[axis] / label.shape[axis]):
        neighbours = axes[axis]
        smallest = np.minimum(smallest.take(neighbours.low, axis), smallest.take(neighbours.high, axis))
        largest = np.maximum(largest.take(neighbours.low, axis), largest.take(neighbours.high, axis))
    resized = np.ascontiguousarray(smallest)
    undecided = np.flatnonzero(smallest != largest)
    for start in range(0, len(undecided), VOXELS_PER_STEP):
        voxels = undecided[start : start + VOXELS_PER_STEP]
        resized.reshape(-1)[voxels] = _vote(label, axes, np.unravel_index(voxels, shape), shape)
    return resized


def _vote(label: IntArray, axes: list[LinearAxis], voxels: tuple[IntArray, ...], shape: Shape) -> IntArray:
    """Return the winner at each output voxel, with weights multiplied and added in scipy's order: its ties are ours."""
    values, weights = [], []
    for corner in product((0, 1), repeat=len(axes)):
        weight: NDArray[np.float64] = np.ones(len(voxels[0]))
        index = []
        for side, axis, position in zip(corner, axes, voxels, strict=True):
            index.append((axis.high if side else axis.low)[position])
            weight = weight * (axis.high_weight if side else axis.low_weight)[position]
        values.append(label[tuple(index)])
        weights.append(weight)
    scores = [_score(value, values, weights) for value in values]
    best = np.max(scores, axis=0)
    sources = [nearest_indices(n_in, n_out) for n_in, n_out in zip(label.shape, shape, strict=True)]
    nearest = label[tuple(source[position] for source, position in zip(sources, voxels, strict=True))]
    winner = np.full_like(nearest, np.iinfo(label.dtype).max)
    nearest_wins = np.zeros(len(nearest), bool)
    for value, score in zip(values, scores, strict=True):
        at_best = score == best
        winner = np.where(at_best, np.minimum(winner, value), winner)
        nearest_wins |= at_best & (value == nearest)
    return np.where(nearest_wins, nearest, winner)


def _score(wanted: IntArray, values: list[IntArray], weights: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    total = np.zeros(len(wanted))
    for value, weight in zip(values, weights, strict=True):
        total += np.where(value == wanted, weight, 0.0)
    return total


def _resize_by_scores(label: IntArray, shape: Shape, order: int) -> IntArray:
    """Compare whole score volumes, one label at a time: splines of higher order reach beyond the neighbours."""
    nearest = _nearest(label, shape)
    winner = np.full_like(nearest, label.min())
    best = np.full(shape, -np.inf)
    nearest_score = np.zeros(shape)
    for value in np.unique(label):
        score = (label == value).astype(np.float64)
        for axis, (n_in, n_out) in enumerate(zip(label.shape, shape, strict=True)):
            if n_in != n_out:
                score = np.moveaxis(np.tensordot(axis_operator(n_in, n_out, order), score, (1, axis)), 0, axis)
        np.clip(score, 0, 1, out=score)
        higher = score > best
        winner[higher] = value
        best[higher] = score[higher]
        nearest_score[nearest == value] = score[nearest == value]
    return np.where((nearest_score == best) & (best > 0), nearest, winner)
