"""nnU-Net's `summary.json`: the figures of its validation read, and ours written for its readers."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segfw.core.errors import DataError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.scoring.metrics import Summary
from segfw.core.version import __version__

_THEIR_NAMES = {
    "Dice": "dice",
    "FN": "fn",
    "FP": "fp",
    "IoU": "iou",
    "TN": "tn",
    "TP": "tp",
    "n_pred": "n_pred",
    "n_ref": "n_ref",
}
_WRITER = "segfw"


def summary_text(summary: Summary, values: Mapping[str, int | LabelKey], files: Mapping[str, tuple[Path, Path]]) -> str:
    """Return nnU-Net's form of a summary: the counts, labels called by their value, NaN bare, as its readers expect.

    `values`: name -> value of a label, values of a region. `files`: case -> (prediction, reference). What nnU-Net lacks
    is left out, but for `segfw`, our version, by which `is_ours` knows the file.
    """
    content = {
        "foreground_mean": _theirs(summary.foreground_mean),
        "mean": {str(values[name]): _theirs(row) for name, row in summary.mean.items()},
        "metric_per_case": [
            {
                "metrics": {
                    str(values[name]): {theirs: getattr(counts, ours) for theirs, ours in _THEIR_NAMES.items()}
                    for name, counts in scored.labels.items()
                },
                "prediction_file": str(files[scored.case][0].absolute()),
                "reference_file": str(files[scored.case][1].absolute()),
            }
            for scored in summary.cases
        ],
        _WRITER: __version__,
    }
    return json.dumps(content, indent=4, sort_keys=True) + "\n"


def is_ours(path: Path) -> bool:
    """Whether a `summary.json` was written by `summary_text`."""
    try:
        return _WRITER in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _theirs(row: Mapping[str, float]) -> dict[str, float]:
    return {theirs: row[ours] for theirs, ours in _THEIR_NAMES.items()}


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
