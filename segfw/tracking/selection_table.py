"""The report's table of what competed, and how sure the winner's lead is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segfw.tracking.numbers import NOTHING, decimals
from segfw.tracking.page import paragraph, table


@dataclass(frozen=True)
class CandidateScore:
    """One row of the selection; `dice` is the mean over foreground labels.

    `lead`: the winner's over this one, with the bounds of its interval, where they are known; None for the winner.
    """

    name: str
    num_cases: int
    dice: float
    dice_per_label: Mapping[str, float]
    lead: tuple[float, float | None, float | None] | None = None


def selection_table(
    candidates: Sequence[CandidateScore], winner: str | None, same_cases: bool, notes: Sequence[str]
) -> str:
    """Return the table with the winner marked, and what is to be said of it."""
    if not candidates:
        return paragraph("Nothing has been selected yet.", quiet=True)
    labels = list(dict.fromkeys(name for row in candidates for name in row.dice_per_label))
    with_leads = any(row.lead is not None for row in candidates)
    rows = [
        (
            row.name,
            str(row.num_cases),
            decimals(row.dice),
            *(decimals(row.dice_per_label.get(name)) for name in labels),
            *((_lead(row),) if with_leads else ()),
        )
        for row in candidates
    ]
    best = next((number for number, row in enumerate(candidates) if row.name == winner), None)
    warning = "" if same_cases else paragraph("The candidates were scored on different cases: folds are missing.")
    header = ("candidate", "cases", "mean Dice", *labels, *(("winner ahead by (95 % interval)",) if with_leads else ()))
    said = "".join(paragraph(note, quiet=True) for note in notes)
    return warning + table(header, rows, best, "selected") + said


def _lead(row: CandidateScore) -> str:
    if row.lead is None or math.isnan(row.lead[0]):
        return NOTHING
    difference, low, high = row.lead
    return f"{difference:+.4f}" + (f" ({low:+.4f} to {high:+.4f})" if low is not None else " (no interval)")
