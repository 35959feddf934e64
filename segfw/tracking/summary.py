"""The page's first part: what won, how well it does on cases it has not seen, label by label."""

from collections.abc import Mapping
from dataclasses import dataclass

from segfw.core.support.words import counted
from segfw.tracking.numbers import NOTHING, Distribution, decimals, distribution
from segfw.tracking.page import Markup, caption, lead, paragraph, table, tiles
from segfw.tracking.validation_section import ValidationScores

WIDTH, HEIGHT = 168, 16


@dataclass(frozen=True)
class Choice:
    """What was selected: its score on the cases that chose it, and on those that had no part in the choice.

    `cross_fitted`: None where it cannot be known, for the `reason` given; `num_candidates`: what competed.
    """

    winner: str
    num_candidates: int
    num_cases: int
    folds: tuple[str, ...]
    selection_score: float
    cross_fitted: float | None
    cross_fitted_per_label: Mapping[str, float]
    reason: str = ""


def summary(name: str, choice: Choice | None, scores: ValidationScores | None, cases: int) -> str:
    """Return the result of what was trained under `name` in a screen.

    `scores`: of the winner, without postprocessing; `cases`: of the dataset.
    """
    if scores is None:
        return paragraph(
            f"No result yet: no fold of {name} has been validated. The dataset has {counted(cases, 'case')}.",
            quiet=True,
        )
    if choice is None:
        head = paragraph(f"Nothing of {name} has been selected yet. So far, {scores.configuration} reaches:")
        return head + _labels(scores, None)
    told = (
        f"the only candidate of {name}"
        if choice.num_candidates == 1
        else f"the best of {choice.num_candidates} candidates of {name}"
    )
    folds = "fold" if len(choice.folds) == 1 else "folds"
    sentence = (
        f"{choice.winner} is {told}, scored on {choice.num_cases} of {counted(cases, 'case')} "
        f"({folds} {', '.join(choice.folds)}), each segmented by networks that never saw it."
    )
    facts = [
        *((("mean Dice, cross-fitted", decimals(choice.cross_fitted)),) if choice.cross_fitted is not None else ()),
        ("mean Dice, selection score", decimals(choice.selection_score)),
        ("cases scored", str(choice.num_cases)),
        ("candidates" if choice.num_candidates > 1 else "candidate", str(choice.num_candidates)),
    ]
    return lead(sentence) + tiles(facts) + _labels(scores, choice) + caption(_explanation(choice))


def _explanation(choice: Choice) -> str:
    if choice.cross_fitted is None:
        return (
            f"No cross-fitted score: {choice.reason}. The selection score is of the cases that chose the "
            "winner, before postprocessing."
        )
    return (
        "Cross-fitted: each case is scored by what was chosen, postprocessing included, without its fold. The "
        "selection score is of the cases that chose the winner, so that it may be too optimistic; it and the "
        "distributions, which are the winner’s, are before postprocessing."
    )


def _labels(scores: ValidationScores, choice: Choice | None) -> str:
    fitted = choice.cross_fitted_per_label if choice and choice.cross_fitted is not None else {}
    rows = [(name, *_cells(distribution(values), fitted.get(name))) for name, values in scores.dice.items()]
    header = ("label", "cases", "mean ± SD", "median (quartiles)", "Dice, 0 to 1", "cross-fitted")
    return table(header if fitted else header[:-1], [row if fitted else row[:-1] for row in rows])


def _cells(found: Distribution | None, fitted: float | None) -> tuple[str, ...]:
    if found is None:
        return "0", NOTHING, NOTHING, NOTHING, NOTHING
    quartiles = f"{found.median:.3f} ({found.first:.3f}–{found.third:.3f})"
    return str(found.count), f"{found.mean:.3f} ± {found.std:.3f}", quartiles, strip(found), decimals(fitted, 3)


def strip(found: Distribution) -> Markup:
    """Return a box plot as small as a word, of values from 0 to 1: a line from end to end, a box, a tick."""
    low, first, median, third, high = (
        round(2 + (WIDTH - 4) * min(max(value, 0.0), 1.0), 1)
        for value in (found.low, found.first, found.median, found.third, found.high)
    )
    words = f"from {found.low:.2f} to {found.high:.2f}, median {found.median:.2f}"
    return Markup(
        f'<svg class="strip" role="img" aria-label="{words}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}"><path class="rail" d="M2 8H{WIDTH - 2}"/>'
        f'<path class="range" d="M{low} 8H{high}"/>'
        f'<rect x="{first}" y="3" width="{max(third - first, 1.0):.1f}" height="10"/>'
        f'<path class="middle" d="M{median} 1V15"/></svg>'
    )
