"""Which label is taken for which: voxels by reference and predicted value, added up over cases."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segfw.core.errors import DataError
from segfw.core.labels import LabelSet
from segfw.core.scoring.counts import joint_histogram
from segfw.core.types import FloatArray, IntArray

Pairs = dict[tuple[int, int], int]
"""(reference value, predicted value) -> voxels, of pairs that occur."""


@dataclass(frozen=True)
class Confusion:
    """Voxels `counts[i][j]` of the reference value `values[i]` that were predicted to be `values[j]`."""

    values: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def shares(self) -> FloatArray:
        """Each row divided by its sum; NaN in a row of a label that no reference has."""
        counts = np.asarray(self.counts, np.float64)
        totals = counts.sum(1, keepdims=True)
        return np.asarray(np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0))


def confuse(reference: IntArray, prediction: IntArray, labels: LabelSet) -> Pairs:
    """Count the pairs of values of two maps of one shape; voxels whose reference is not annotated are left out.

    With regions the values are those that the maps hold, as they are painted. `DataError` for different shapes.
    """
    if reference.shape != prediction.shape:
        raise DataError(f"reference and prediction must have one shape, got {reference.shape} and {prediction.shape}")
    values = labels.all_values
    table = joint_histogram(reference, prediction, values)[: len(values), : len(values)]
    rows, columns = np.nonzero(table)
    return {(values[i], values[j]): int(table[i, j]) for i, j in zip(rows.tolist(), columns.tolist(), strict=True)}


def add_pairs(total: Pairs, further: Mapping[tuple[int, int], int]) -> Pairs:
    """Return the sum of two counts."""
    return {pair: total.get(pair, 0) + further.get(pair, 0) for pair in {**total, **further}}


def confusion_of(pairs: Mapping[tuple[int, int], int], labels: LabelSet) -> Confusion:
    """Arrange counts as a matrix over the values of `labels`, background first."""
    values = labels.all_values
    return Confusion(values, tuple(tuple(pairs.get((i, j), 0) for j in values) for i in values))
