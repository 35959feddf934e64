"""The page's part on trainings: how each fold ended, and the curves of all folds laid over one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segfw.core.support.words import in_words
from segfw.tracking.curves import MOST_EPOCHS, curves_figure, folds_figure, thinned
from segfw.tracking.figures import PAGE, to_svg
from segfw.tracking.numbers import decimals
from segfw.tracking.page import figure, foldable, heading, paragraph, table

MOST_FIGURES = 12
"""Of configurations, and of single folds; a sweep may have hundreds."""


@dataclass(frozen=True)
class FoldCurves:
    """The rows of one finished fold's `metrics.csv` (see `curves.draw_curves`)."""

    configuration: str
    fold: str
    rows: tuple[Mapping[str, float], ...]


def training_section(curves: Sequence[FoldCurves], first: str | None) -> str:
    """Return the table, a figure of all folds for each configuration, and each fold's own; `first` leads."""
    if not curves:
        return paragraph("No fold is finished yet.", quiet=True)
    ordered = sorted(curves, key=lambda run: run.configuration != first)
    of_each: dict[str, list[FoldCurves]] = {}
    for run in ordered:
        of_each.setdefault(run.configuration, []).append(run)
    header = ("configuration, fold", "epochs", "loss", "validation loss", "patch Dice (moving average)", "time")
    parts = [table(header, _last_rows(ordered))]
    for position, (name, runs) in enumerate(list(of_each.items())[:MOST_FIGURES]):
        rows = {f"fold {run.fold}": thinned(run.rows) for run in runs}
        svg = to_svg(folds_figure(rows, PAGE), f"folds-{position}", f"Training curves of all folds of {name}")
        parts += [heading(name, 3), figure(svg, _caption(runs))]
    if len(of_each) > MOST_FIGURES:
        parts.append(paragraph(f"Curves of {len(of_each) - MOST_FIGURES} more are in training.png of each run."))
    parts.append(heading("Each fold on its own", 3))
    for position, run in enumerate(ordered[:MOST_FIGURES]):
        title = f"{run.configuration}, fold {run.fold}"
        svg = to_svg(curves_figure(thinned(run.rows), PAGE), f"curves-{position}", f"Training curves of {title}")
        parts.append(foldable(title, figure(svg, _caption([run])), is_open=False))
    if len(ordered) > MOST_FIGURES:
        parts.append(paragraph(f"Those of {len(ordered) - MOST_FIGURES} more folds are in training.png of each run."))
    return "".join(parts)


def _caption(runs: Sequence[FoldCurves]) -> str:
    longest = max(len(run.rows) for run in runs)
    block = -(-longest // MOST_EPOCHS)
    averaged = f" Each point is the mean of up to {block} epochs." if block > 1 else ""
    return f"Patch Dice is an estimate from random patches.{averaged}"


def _last_rows(curves: Sequence[FoldCurves]) -> list[tuple[str, ...]]:
    """Return a table row per fold: its last losses, the moving average of its patch Dice, its time."""
    rows = []
    for run in curves:
        last = run.rows[-1] if run.rows else {}
        values = [decimals(last.get(key)) for key in ("train/loss", "val/loss", "val/patch_dice_ema")]
        seconds = sum(row.get("seconds", 0.0) for row in run.rows)
        rows.append((f"{run.configuration}, fold {run.fold}", str(len(run.rows)), *values, in_words(seconds)))
    return rows
