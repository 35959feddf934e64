"""The figures of nnU-Net's validation of its folds, `validation/summary.json`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from segfw.core.errors import DataError
from segfw.core.labels import LabelKey, LabelSet


def validation_scores(summaries: Sequence[Mapping[str, Any]], labels: LabelSet) -> dict[str, float]:
    """Return `dice/<label>`, the mean over the cases of all folds that have or were given the label, and `dice`.

    `dice` is the mean over the labels. A label that occurs in no case is left out. `DataError` for summaries of
    another form or of other labels.
    """
    means: dict[str, float] = {}
    for name, values in labels.foreground:
        found = [_dice(case, values) for summary in summaries for case in _cases(summary)]
        known = [value for value in found if not math.isnan(value)]
        if known:
            means[f"dice/{name}"] = sum(known) / len(known)
    return {"dice": sum(means.values()) / len(means), **means} if means else {}


def count_cases(summaries: Sequence[Mapping[str, Any]]) -> int:
    """Return how many cases the summaries score together; `DataError` for summaries of another form."""
    return sum(len(_cases(summary)) for summary in summaries)


def _cases(summary: Mapping[str, Any]) -> list[Any]:
    cases = summary.get("metric_per_case")
    if not isinstance(cases, list):
        raise DataError(f"a summary lists metric_per_case, got {sorted(summary)}")
    return cases


def _dice(case: Any, values: LabelKey) -> float:
    """Return a case's Dice of a label or region, which is called `3`, `(3,)` or `(1, 2)`."""
    try:
        metrics = case["metrics"]
        entry = metrics[str(values)] if str(values) in metrics else metrics[str(values[0])]
        return float(entry["Dice"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a summary gives the Dice of {values} for each case, not so: {error!r}") from error
