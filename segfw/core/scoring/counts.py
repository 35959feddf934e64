"""How many voxels two label maps agree on, and the measures of overlap that follow from it.

One joint histogram of (reference value, predicted value) holds every count of every label and region, so each case's
voxels are looked at once, in blocks of bounded size.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segfw.core.errors import DataError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.types import IntArray

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Counts:
    """Voxels of one label or region: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n_pred(self) -> int:
        """Voxels predicted to be of the label."""
        return self.tp + self.fp

    @property
    def n_ref(self) -> int:
        """Voxels of the label in the reference."""
        return self.tp + self.fn

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where neither map has the label."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); NaN where neither map has the label."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)


def confusion(reference: IntArray, prediction: IntArray, labels: LabelSet) -> dict[str, Counts]:
    """Count the agreement of two maps of the same shape for each foreground entry of `labels`, by name.

    Voxels whose reference is the ignore label are left out. `DataError` for different shapes or maps that hold no
    integers.
    """
    return count_overlaps(reference, prediction, dict(labels.foreground), labels.ignore_value)


def count_overlaps(
    reference: IntArray, prediction: IntArray, keys: Mapping[str, LabelKey], ignore_value: int | None = None
) -> dict[str, Counts]:
    """Count the agreement of two maps for any sets of values (`keys`: name -> values); as `confusion` otherwise."""
    if reference.shape != prediction.shape:
        raise DataError(f"reference and prediction must have one shape, got {reference.shape} and {prediction.shape}")
    for name, array in (("reference", reference), ("prediction", prediction)):
        if array.dtype.kind not in "iub":
            raise DataError(f"the {name} must hold integers, got {array.dtype}")
    ignored = set() if ignore_value is None else {ignore_value}
    values = sorted({value for key in keys.values() for value in key} | ignored)
    position = {value: i for i, value in enumerate(values)}
    table = joint_histogram(reference, prediction, values)
    if ignore_value is not None:
        table[position[ignore_value]] = 0
    total = int(table.sum())
    counts = {}
    for name, key in keys.items():
        members = [position[value] for value in set(key)]
        tp = int(table[np.ix_(members, members)].sum())
        n_ref, n_pred = int(table[members].sum()), int(table[:, members].sum())
        counts[name] = Counts(tp=tp, fp=n_pred - tp, fn=n_ref - tp, tn=total - n_pred - n_ref + tp)
    return counts


def joint_histogram(reference: IntArray, prediction: IntArray, values: Sequence[int]) -> IntArray:
    """Count voxels by (index of reference in `values`, index of prediction); the last row and column hold all other
    values.
    """
    size = len(values) + 1
    table = np.zeros(size * size, np.int64)
    flat_reference, flat_prediction = reference.reshape(-1), prediction.reshape(-1)
    for start in range(0, flat_reference.size, _BLOCK):
        rows = _indices(flat_reference[start : start + _BLOCK], values)
        columns = _indices(flat_prediction[start : start + _BLOCK], values)
        table += np.bincount(rows * size + columns, minlength=size * size)
    return table.reshape(size, size)


def _indices(block: IntArray, values: Sequence[int]) -> IntArray:
    """Replace each voxel by its position in `values` (not negative, ascending), or by their number if it is not
    among them.
    """
    limit = values[-1] + 1 if values else 0
    lookup = np.full(limit + 1, len(values), np.int64)
    lookup[list(values)] = np.arange(len(values))
    known = (block >= 0) & (block < limit)
    return lookup[np.where(known, block.astype(np.int64), limit)]


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
