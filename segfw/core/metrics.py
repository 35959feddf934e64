"""How well label maps agree: counts of voxels, overlap measures, and their summary over cases.

One joint histogram of (reference value, predicted value) holds every count of every label and region, so each case's
voxels are looked at once, in blocks of bounded size.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segfw.core.errors import ArtefactError, DataError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.types import IntArray

METRICS = ("dice", "iou", "tp", "fp", "fn", "tn", "n_pred", "n_ref")
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


@dataclass(frozen=True)
class CaseMetrics:
    """The counts of one case, by the name of the label or region."""

    case: str
    labels: dict[str, Counts]


@dataclass(frozen=True)
class Summary:
    """Metrics of several cases.

    `mean[label][metric]`: mean over the cases in which the metric is defined, NaN if there are none.
    `foreground_mean[metric]`: mean of these over the labels in which it is defined. A label that no reference and no
    prediction has leaves the others' mean alone (in nnU-Net it turns the whole mean into NaN); otherwise the figures
    equal nnU-Net's.
    """

    cases: tuple[CaseMetrics, ...]
    mean: dict[str, dict[str, float]]
    foreground_mean: dict[str, float]


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
    table = _joint_histogram(reference, prediction, values)
    if ignore_value is not None:
        table[position[ignore_value]] = 0
    total = int(table.sum())
    counts = {}
    for name, key in keys.items():
        members = [position[value] for value in key]
        tp = int(table[np.ix_(members, members)].sum())
        n_ref, n_pred = int(table[members].sum()), int(table[:, members].sum())
        counts[name] = Counts(tp=tp, fp=n_pred - tp, fn=n_ref - tp, tn=total - n_pred - n_ref + tp)
    return counts


def case_metrics(case: str, reference: IntArray, prediction: IntArray, labels: LabelSet) -> CaseMetrics:
    """Score one case; the message of a `DataError` begins with its name."""
    try:
        return CaseMetrics(case, confusion(reference, prediction, labels))
    except DataError as error:
        raise DataError(f"case {case!r}: {error}") from error


def summarize(cases: Sequence[CaseMetrics]) -> Summary:
    """Average over cases, then over labels. `DataError` when two cases were scored for different labels."""
    names = tuple(cases[0].labels) if cases else ()
    for scored in cases:
        if tuple(scored.labels) != names:
            raise DataError(f"case {scored.case!r} was scored for {tuple(scored.labels)}, the others for {names}")
    mean = {
        name: {metric: _nanmean([getattr(scored.labels[name], metric) for scored in cases]) for metric in METRICS}
        for name in names
    }
    foreground = {metric: _nanmean([mean[name][metric] for name in names]) for metric in METRICS}
    return Summary(tuple(cases), mean, foreground)


def summary_to_plain(summary: Summary) -> dict[str, Any]:
    """Return the content of `metrics.json`: `foreground_mean`, `mean` per label, `cases`; None stands for NaN, which
    JSON lacks.
    """
    return {
        "foreground_mean": _without_nan(summary.foreground_mean),
        "mean": {name: _without_nan(row) for name, row in summary.mean.items()},
        "cases": [
            {"case": scored.case, "labels": {name: _without_nan(_row(c)) for name, c in scored.labels.items()}}
            for scored in summary.cases
        ],
    }


def summary_from_plain(plain: Any) -> Summary:
    """Rebuild a summary from what `summary_to_plain` made; the averages are computed again from the counts."""
    try:
        cases = [
            CaseMetrics(
                str(entry["case"]),
                {
                    str(name): Counts(*(int(row[key]) for key in ("tp", "fp", "fn", "tn")))
                    for name, row in entry["labels"].items()
                },
            )
            for entry in plain["cases"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(
            f"these metrics lack or garble an entry: {error!r}; each case needs 'case' and 'labels'"
        ) from error
    return summarize(cases)


def summary_to_json(summary: Summary) -> str:
    """Return the text of `metrics.json`; NaN is written as null."""
    return json.dumps(summary_to_plain(summary), indent=2, allow_nan=False) + "\n"


def summary_to_csv(summary: Summary) -> str:
    """Return one row per case and label under a header; an undefined value is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "label", *METRICS))
    for scored in summary.cases:
        for name, counts in scored.labels.items():
            row = _without_nan(_row(counts))
            writer.writerow((scored.case, name, *("" if row[m] is None else row[m] for m in METRICS)))
    return text.getvalue()


def _joint_histogram(reference: IntArray, prediction: IntArray, values: Sequence[int]) -> IntArray:
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


def _row(counts: Counts) -> dict[str, float]:
    return {metric: getattr(counts, metric) for metric in METRICS}


def _without_nan(row: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: None if math.isnan(value) else value for metric, value in row.items()}


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan


def _nanmean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
