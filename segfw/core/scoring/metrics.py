"""How well label maps agree, per case and label or region, and the summary over cases.

What is counted stands in `segfw.core.scoring.counts`, what is measured in `segfw.core.scoring.measures`, with the rule
for labels that one or both maps lack.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segfw.core.errors import ArtefactError, DataError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.scoring.counts import Counts, confusion, count_overlaps
from segfw.core.scoring.measures import MEASURES, Measures, measure
from segfw.core.settings.verbs import EvaluateSettings
from segfw.core.types import IntArray

__all__ = [
    "METRICS",
    "TOLERANCE_MM",
    "CaseMetrics",
    "Counts",
    "Presence",
    "Summary",
    "case_metrics",
    "confusion",
    "count_overlaps",
    "score_case",
    "summarize",
    "summary_from_plain",
    "summary_to_csv",
    "summary_to_json",
    "summary_to_plain",
]

METRICS = ("dice", "iou", "tp", "fp", "fn", "tn", "n_pred", "n_ref")
TOLERANCE_MM = EvaluateSettings().tolerance_mm


@dataclass(frozen=True)
class CaseMetrics:
    """The counts of one case and its measures (none where only counts were asked for), by name of label or region."""

    case: str
    labels: dict[str, Counts]
    measures: dict[str, Measures] = field(default_factory=dict)


def case_dice(case: CaseMetrics) -> float:
    """Return a case's mean Dice over the labels in which it is defined; NaN where it is in none."""
    known = [counts.dice for counts in case.labels.values() if not math.isnan(counts.dice)]
    return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True)
class Presence:
    """In how many cases a label is in both maps, in the reference only, in the prediction only, in neither."""

    both: int
    missed: int
    invented: int
    neither: int


@dataclass(frozen=True)
class Summary:
    """Metrics of several cases.

    `mean[label][metric]`: mean over the cases in which the metric is defined, NaN if there are none.
    `foreground_mean[metric]`: mean of these over the labels in which it is defined. A label that no reference and no
    prediction has leaves the others' mean alone (in nnU-Net it turns the whole mean into NaN); otherwise the figures
    equal nnU-Net's. Measures are averaged where every case has them. `presence[label]`: which cases lack the label.
    """

    cases: tuple[CaseMetrics, ...]
    mean: dict[str, dict[str, float]]
    foreground_mean: dict[str, float]
    presence: dict[str, Presence]


def case_metrics(
    case: str,
    reference: IntArray,
    prediction: IntArray,
    labels: LabelSet,
    spacing: Sequence[float] | None = None,
    tolerance_mm: float = TOLERANCE_MM,
) -> CaseMetrics:
    """Score one case for the foreground of `labels`; as `score_case` otherwise."""
    return score_case(case, reference, prediction, dict(labels.foreground), labels.ignore_value, spacing, tolerance_mm)


def score_case(
    case: str,
    reference: IntArray,
    prediction: IntArray,
    keys: Mapping[str, LabelKey],
    ignore_value: int | None = None,
    spacing: Sequence[float] | None = None,
    tolerance_mm: float = TOLERANCE_MM,
) -> CaseMetrics:
    """Score one case for any sets of values (`keys`: name -> values); a `DataError`'s message begins with its name.

    `spacing`: millimetres per axis, of the reference; None counts voxels and measures nothing.
    """
    try:
        counts = count_overlaps(reference, prediction, keys, ignore_value)
    except DataError as error:
        raise DataError(f"case {case!r}: {error}") from error
    if spacing is None:
        return CaseMetrics(case, counts)
    return CaseMetrics(case, counts, measure(reference, prediction, keys, spacing, tolerance_mm, ignore_value))


def summarize(cases: Sequence[CaseMetrics]) -> Summary:
    """Average over cases, then over labels. `DataError` when two cases were scored for different labels."""
    names = tuple(cases[0].labels) if cases else ()
    for scored in cases:
        if tuple(scored.labels) != names:
            raise DataError(f"case {scored.case!r} was scored for {tuple(scored.labels)}, the others for {names}")
    metrics = _metrics(cases)
    rows = {name: [_row(scored, name) for scored in cases] for name in names}
    mean = {name: {metric: _nanmean([row[metric] for row in rows[name]]) for metric in metrics} for name in names}
    foreground = {metric: mean_over_labels(mean[name][metric] for name in names) for metric in metrics}
    presence = {name: _presence([scored.labels[name] for scored in cases]) for name in names}
    return Summary(tuple(cases), mean, foreground, presence)


def mean_over_labels(means: Iterable[float]) -> float:
    """Return the mean of the labels' means, of those that are defined; NaN where none is."""
    return _nanmean(list(means))


def summary_to_plain(summary: Summary) -> dict[str, Any]:
    """Return the content of `metrics.json`: `foreground_mean`, `mean` and `presence` per label, `cases`; None stands
    for NaN, which JSON lacks.
    """
    return {
        "foreground_mean": _without_nan(summary.foreground_mean),
        "mean": {name: _without_nan(row) for name, row in summary.mean.items()},
        "presence": {name: vars(presence) for name, presence in summary.presence.items()},
        "cases": [
            {"case": scored.case, "labels": {name: _without_nan(_row(scored, name)) for name in scored.labels}}
            for scored in summary.cases
        ],
    }


def summary_from_plain(plain: Any) -> Summary:
    """Rebuild a summary from what `summary_to_plain` made; what is derived from the cases is computed again.

    Files of before there were measures are understood.
    """
    try:
        cases = [
            CaseMetrics(
                str(entry["case"]),
                {str(name): _counts(row) for name, row in entry["labels"].items()},
                {str(name): _measures(row) for name, row in entry["labels"].items() if MEASURES[0] in row},
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
    metrics = _metrics(summary.cases)
    writer.writerow(("case", "label", *metrics))
    for scored in summary.cases:
        for name in scored.labels:
            row = _without_nan(_row(scored, name))
            writer.writerow((scored.case, name, *("" if row[m] is None else row[m] for m in metrics)))
    return text.getvalue()


def _metrics(cases: Sequence[CaseMetrics]) -> tuple[str, ...]:
    """Name the metrics that every case has."""
    return (*METRICS, *MEASURES) if cases and all(scored.measures for scored in cases) else METRICS


def _row(scored: CaseMetrics, name: str) -> dict[str, float]:
    row = {metric: getattr(scored.labels[name], metric) for metric in METRICS}
    return {**row, **vars(scored.measures[name])} if scored.measures else row


def _presence(counts: Sequence[Counts]) -> Presence:
    there = [(one.n_ref > 0, one.n_pred > 0) for one in counts]
    return Presence(
        both=there.count((True, True)),
        missed=there.count((True, False)),
        invented=there.count((False, True)),
        neither=there.count((False, False)),
    )


def _counts(row: Mapping[str, Any]) -> Counts:
    return Counts(*(int(row[key]) for key in ("tp", "fp", "fn", "tn")))


def _measures(row: Mapping[str, Any]) -> Measures:
    return Measures(**{key: _number(row[key]) for key in MEASURES})


def _number(value: Any) -> Any:
    """Return NaN for None; `TypeError` for what is no number."""
    return math.nan if value is None else value + 0


def _without_nan(row: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: None if math.isnan(value) else value for metric, value in row.items()}


def _nanmean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
