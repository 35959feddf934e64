"""Verb `compare`: finished runs side by side. Their settings, their metrics, and a paired test against the first."""

import csv
import io
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segfw.core.cases.groups import groups_by_pattern, guess_group_pattern
from segfw.core.errors import UsageError
from segfw.core.scoring.bootstrap import NO_INTERVAL
from segfw.core.scoring.comparison import (
    LEAST_PAIRS,
    PairedComparison,
    common_cases,
    compare_pairs,
    with_holm,
)
from segfw.core.scoring.selection import mean_dice
from segfw.core.settings.differences import differing
from segfw.core.settings.verbs import CompareSettings
from segfw.core.support.conversion import to_plain
from segfw.core.support.files import write_text
from segfw.core.support.words import counted, in_words, readable_count
from segfw.stages.inspection.compared_runs import ComparedRun, load_runs
from segfw.tracking.text_table import text_table

log = logging.getLogger(__name__)

ENDINGS = (".json", ".csv")
SHOWN = {"dice": "Dice", "nsd": "NSD", "hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm", "lesion_f1": "lesion F1"}
FOREGROUND = "foreground mean"
ABSENT = "-"


def run(settings: CompareSettings) -> None:
    """Log what differs between the runs, and write all of it where `output` says."""
    paths = settings.runs or ()
    if len(paths) < 2:
        raise UsageError(f"compare needs two or more runs, as in runs=[RUN,RUN], got {list(paths)}")
    output = None if settings.output is None else Path(settings.output)
    if output is not None and output.suffix not in ENDINGS:
        raise UsageError(f"output must end in .json or .csv, got {settings.output!r}")
    runs = load_runs(paths)
    names = [each.name for each in runs]
    for each in runs:
        tags = f"  tags: {', '.join(each.tags)}" if each.tags else ""
        log.info("%s: %s%s", each.name, each.folder, tags)
    keys = differing([each.config for each in runs])
    rows = [(key, *map(_written, values)) for key, values in keys.items()]
    log.info("%s", "\n" + text_table("settings that differ", ("", *names), rows) if rows else "no setting differs")
    log.info("\n%s", text_table("metrics", ("", *names), _metric_rows(runs)))
    groups = _groups(runs, settings.group_pattern)
    compared = with_holm([_compare(runs[0], other, groups) for other in runs[1:]])
    log.info("")
    for other, found in zip(runs[1:], compared, strict=True):
        log.info("%s", _in_words(runs[0], other, found))
    _note_dependence(runs, settings.group_pattern, compared)
    if output is not None:
        content = _plain(runs, keys, compared)
        text = json.dumps(content, indent=2) + "\n" if output.suffix == ".json" else _csv(content)
        write_text(output, text)
        log.info("compare: wrote %s", output)


def _written(value: Any) -> str:
    """Write a setting's value nearly as a command line has it; numbers to six digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compare(first: ComparedRun, other: ComparedRun, groups: dict[str, str]) -> PairedComparison | None:
    """Compare two runs, unless they are of different datasets, whose cases have nothing but names in common."""
    if first.content != other.content:
        return None
    return compare_pairs(first.cases, other.cases, groups)


def _groups(runs: Sequence[ComparedRun], pattern: str | None) -> dict[str, str]:
    cases = {case.case for each in runs for case in each.cases}
    return {} if pattern is None else groups_by_pattern(cases, pattern)


def _metric_rows(runs: Sequence[ComparedRun]) -> list[tuple[str, ...]]:
    """Return the rows of the table of metrics, each over a run's own cases unless it says otherwise."""
    rows = [
        ("cases", *(str(len({case.case for case in each.cases})) for each in runs)),
        ("folds", *(", ".join(each.folds) for each in runs)),
    ]
    summaries = [each.summary for each in runs]
    labels = dict.fromkeys(label for summary in summaries for label in summary.mean)
    for metric, title in SHOWN.items():
        for label in (FOREGROUND, *labels):
            means = [s.foreground_mean if label == FOREGROUND else s.mean.get(label, {}) for s in summaries]
            values = [mean.get(metric, math.nan) for mean in means]
            if not all(map(math.isnan, values)):
                rows.append((f"{title}, {label}", *(_number(value, metric) for value in values)))
    common = common_cases([each.cases for each in runs])
    if common and any(len({case.case for case in each.cases}) > len(common) for each in runs):
        shared = [mean_dice([case for case in each.cases if case.case in common]) for each in runs]
        rows.append(
            (
                f"Dice, {FOREGROUND}, {counted(len(common), 'case')} of all",
                *(_number(value, "dice") for value in shared),
            )
        )
    rows.append(("epochs", *("-".join(map(str, dict.fromkeys(each.epochs))) for each in runs)))
    rows.append(("training, all folds", *(in_words(each.seconds) for each in runs)))
    rows.append(
        ("parameters", *(ABSENT if each.parameters is None else readable_count(each.parameters) for each in runs))
    )
    return rows


def _number(value: float, metric: str) -> str:
    return ABSENT if math.isnan(value) else f"{value:.2f}" if metric.endswith("_mm") else f"{value:.4f}"


def _in_words(first: ComparedRun, other: ComparedRun, found: PairedComparison | None) -> str:
    """Say how the other run does beside the first."""
    beside = f"{other.name} beside {first.name}"
    if first.content != other.content:
        names = f"{other.dataset} and {first.dataset}"
        told = names if first.dataset != other.dataset else f"{other.dataset} has changed between them"
        return f"{beside}: no test, they are of different datasets ({told})"
    if found is None:
        return f"{beside}: no test, they have no validated case or no label in common"
    lead = found.difference
    interval = NO_INTERVAL if lead.low is None else f"95 % interval {lead.low:+.4f} to {lead.high:+.4f}"
    pairs = found.wins + found.ties + found.losses
    text = (
        f"{beside}: Dice {lead.dice:+.4f} ({interval}) on {counted(lead.num_cases, 'common case')}; "
        f"of {counted(pairs, 'pair')} better in {found.wins}, equal in {found.ties}, worse in {found.losses}"
    )
    if found.p_value is None:
        return f"{text}; no test, it takes {LEAST_PAIRS} pairs that differ"
    corrected = "" if found.p_holm in (None, found.p_value) else f", {found.p_holm:.3g} after Holm's correction"
    return f"{text}; Wilcoxon signed-rank p = {found.p_value:.3g}{corrected}"


def _note_dependence(
    runs: Sequence[ComparedRun], pattern: str | None, compared: Sequence[PairedComparison | None]
) -> None:
    """Say what the test takes for granted, and what the names of the cases say against it."""
    if pattern is not None or not any(compared):
        return
    guess = guess_group_pattern({case.case for each in runs for case in each.cases})
    if guess is None:
        log.info("pairs are single cases; where several are of one patient or stack, group_pattern=REGEX joins them")
    else:
        log.warning("the case names look like several images per patient, which are no pairs of their own; use "
                    "'group_pattern=%s'", guess)  # fmt: skip


def _plain(
    runs: Sequence[ComparedRun], keys: dict[str, list[Any]], compared: Sequence[PairedComparison | None]
) -> dict[str, Any]:
    """Return everything that was found as plain values; None for what is undefined."""
    return {
        "runs": [_run_plain(each) for each in runs],
        "settings": {key: dict(zip((each.name for each in runs), row, strict=True)) for key, row in keys.items()},
        "paired": {
            other.name: None if found is None else _without_nan(to_plain(found))
            for other, found in zip(runs[1:], compared, strict=True)
        },
    }


def _run_plain(each: ComparedRun) -> dict[str, Any]:
    summary = each.summary
    return {
        "name": each.name,
        "folder": str(each.folder),
        "dataset": each.dataset,
        "folds": list(each.folds),
        "tags": list(each.tags),
        "cases": len({case.case for case in each.cases}),
        "epochs": list(each.epochs),
        "training_seconds": each.seconds,
        "parameters": each.parameters,
        "foreground_mean": _without_nan(summary.foreground_mean),
        "mean": _without_nan(summary.mean),
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _csv(content: dict[str, Any]) -> str:
    """Return one row per setting and metric with a column for each run, and the paired figures likewise."""
    names = [each["name"] for each in content["runs"]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("section", "key", "label", *names))
    for key, values in content["settings"].items():
        writer.writerow(("setting", key, "", *(values[name] for name in names)))
    for key in ("cases", "training_seconds", "parameters"):
        writer.writerow(("run", key, "", *(each[key] for each in content["runs"])))
    labels = dict.fromkeys(label for each in content["runs"] for label in each["mean"])
    metrics = dict.fromkeys(metric for each in content["runs"] for metric in each["foreground_mean"])
    for metric in metrics:
        of_runs = [each["foreground_mean"].get(metric) for each in content["runs"]]
        writer.writerow(("metric", metric, FOREGROUND, *of_runs))
        for label in labels:
            of_runs = [each["mean"].get(label, {}).get(metric) for each in content["runs"]]
            writer.writerow(("metric", metric, label, *of_runs))
    for key in ("wins", "ties", "losses", "p_value", "p_holm"):
        found = [content["paired"].get(name) or {} for name in names]
        writer.writerow(("paired", key, "", *(each.get(key) for each in found)))
    for key in ("dice", "low", "high", "num_cases"):
        found = [(content["paired"].get(name) or {}).get("difference", {}) for name in names]
        writer.writerow(("paired", f"difference.{key}", "", *(each.get(key) for each in found)))
    return text.getvalue()
