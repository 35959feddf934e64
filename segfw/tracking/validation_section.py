"""The page's part on whole validation cases: per label how well, as tables and box plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segfw.tracking.figures import PAGE, to_svg
from segfw.tracking.numbers import NOTHING, decimals, distribution
from segfw.tracking.page import figure, foldable, paragraph, table
from segfw.tracking.plots import boxes_figure

MOST_CANDIDATES = 12
"""Whose box plots are drawn; a sweep may have hundreds."""
TITLES = {"dice": "Dice", "nsd": "normalized surface Dice", "hd95_mm": "HD95 (mm)"}


@dataclass(frozen=True)
class ValidationScores:
    """What a candidate's finished folds reached on whole cases: label name -> one value per case, NaN where undefined.

    `measures`: metric (`nsd`, `hd95_mm`) -> the same, where they were measured.
    """

    configuration: str
    folds: tuple[str, ...]
    dice: Mapping[str, tuple[float, ...]]
    measures: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)


def validation_section(validations: Sequence[ValidationScores], first: str | None, tolerance: str = "") -> str:
    """Return tables and box plots, each candidate's foldable; that of the candidate `first` is open and leads.

    `tolerance`: what the normalized surface Dice forgives, in words.
    """
    if not validations:
        return paragraph("No fold has been validated on whole cases yet.", quiet=True)
    ordered = sorted(validations, key=lambda scores: scores.configuration != first)
    parts = []
    for position, scores in enumerate(ordered[:MOST_CANDIDATES]):
        many = "s" if len(scores.folds) > 1 else ""
        title = f"{scores.configuration}, fold{many} {', '.join(scores.folds)}"
        parts.append(foldable(title, _tables(scores, position, tolerance), is_open=position == 0))
    if len(ordered) > MOST_CANDIDATES:
        parts.append(paragraph(f"{len(ordered) - MOST_CANDIDATES} more candidates are in the selection table."))
    return "".join(parts)


def _tables(scores: ValidationScores, position: int, tolerance: str) -> str:
    kinds = {"dice": scores.dice, **scores.measures}
    header = ("label", "cases", "mean Dice", "std", "lowest", "median", "highest", *_further(scores))
    rows = [(name, *_spread(values), *_medians(scores, name)) for name, values in scores.dice.items()]
    svg = to_svg(
        boxes_figure({TITLES[kind]: values for kind, values in kinds.items()}, PAGE),
        f"boxes-{position}",
        f"Distribution of {', '.join(TITLES[kind] for kind in kinds)} over cases per label, {scores.configuration}",
    )
    forgiven = f" The surface Dice forgives {tolerance}." if tolerance and "nsd" in kinds else ""
    caption = (
        "One dot per case; box from quartile to quartile, whiskers to the last case within 1.5 boxes, the bar is the "
        f"median.{forgiven}"
    )
    return table(header, rows) + figure(svg, caption)


def _spread(values: Sequence[float]) -> tuple[str, ...]:
    """Return number, mean, standard deviation, lowest, median and highest of the defined values."""
    found = distribution(values)
    if found is None:
        return ("0", *(NOTHING,) * 5)
    return (str(found.count), *(decimals(v) for v in (found.mean, found.std, found.low, found.median, found.high)))


def _further(scores: ValidationScores) -> list[str]:
    return [f"median {'NSD' if kind == 'nsd' else TITLES[kind]}" for kind in scores.measures]


def _medians(scores: ValidationScores, name: str) -> list[str]:
    found = {kind: distribution(values.get(name, ())) for kind, values in scores.measures.items()}
    return [decimals(each.median if each else None, 2 if kind == "hd95_mm" else 4) for kind, each in found.items()]
