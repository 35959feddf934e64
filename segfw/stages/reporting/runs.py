"""What the report tells of finished folds: their curves, scores and costs."""

import logging
from collections.abc import Sequence
from pathlib import Path

from segfw.core.scoring.metrics import CaseMetrics
from segfw.stages.trainings.runs import FinishedFold
from segfw.tracking.curve_rows import METRICS_FILE, Row, read_rows
from segfw.tracking.runs_table import RunCost
from segfw.tracking.validation_section import ValidationScores

log = logging.getLogger(__name__)

DRAWN = ("nsd", "hd95_mm")
"""Measures that are drawn beside Dice, where a validation has them."""


def scores_of(name: str, folds: Sequence[str], cases: Sequence[CaseMetrics]) -> ValidationScores:
    """Return the cases' Dice, and measures where every case has them, by label."""
    labels = list(cases[0].labels) if cases else []
    dice = {label: tuple(case.labels[label].dice for case in cases) for label in labels}
    measured = bool(cases) and all(set(labels) <= set(case.measures) for case in cases)
    measures = {
        kind: {label: tuple(float(getattr(case.measures[label], kind)) for case in cases) for label in labels}
        for kind in (DRAWN if measured else ())
    }
    return ValidationScores(name, tuple(folds), dice, measures)


def tolerance_of(folds: Sequence[FinishedFold]) -> str:
    """Say what the normalized surface Dice of the validations forgives; empty where it was not measured."""
    scored = [case for fold in folds if fold.scores for case in fold.scores.cases[:1]]
    found = {measures.tolerance_mm for case in scored for measures in case.measures.values()}
    return " or ".join(f"{each:g} mm" for each in sorted(found))


def cost_of(fold: FinishedFold) -> RunCost:
    """Return what a finished fold took; what its done.yaml does not say stays unknown."""
    done = fold.done
    return RunCost(
        configuration=fold.candidate,
        fold=str(fold.run.fold),
        epochs=done.epochs,
        ended=done.ended + (f" ({done.reason})" if done.reason else ""),
        seconds=done.seconds,
        training_seconds=done.training_seconds or None,
        machine=done.machine,
        peak_memory_gb=done.peak_memory_gb,
        peak_device_memory_gb=done.peak_device_memory_gb,
        versions=done.versions,
    )


def rows_of(folder: Path) -> tuple[Row, ...]:
    """Read the curves of a run; none, and a warning, where they are missing or damaged."""
    rows = read_rows(folder / METRICS_FILE)
    if not rows:
        log.warning("report: without the curves of %s: %s has no rows", folder, METRICS_FILE)
    return tuple(rows)


def validations_of(folds: Sequence[FinishedFold]) -> tuple[ValidationScores, ...]:
    """Return the scores of each candidate's folds together."""
    scored = [fold for fold in folds if fold.scores is not None]
    entries = []
    for name in dict.fromkeys(fold.candidate for fold in scored):
        own = [fold for fold in scored if fold.candidate == name]
        cases = [case for fold in own if fold.scores for case in fold.scores.cases]
        entries.append(scores_of(name, [str(fold.run.fold) for fold in own], cases))
    return tuple(entries)
