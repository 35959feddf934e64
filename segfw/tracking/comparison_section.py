"""The page's part on other names: what was trained beside the runs that the page is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from segfw.core.support.words import counted
from segfw.tracking.numbers import NOTHING, decimals
from segfw.tracking.page import paragraph, table

NOTE = (
    "Each name's winner, by its own selection: the cases may differ, and so may the folds. The verb compare sets names "
    "against one another on the cases that they share."
)


@dataclass(frozen=True)
class NamedResult:
    """A name with finished folds and, once something was selected, its winner with both scores."""

    name: str
    num_folds: int
    winner: str = ""
    num_cases: int | None = None
    selection_score: float | None = None
    cross_fitted: float | None = None


def comparison_section(results: Sequence[NamedResult], own: str) -> str:
    """Return a table of all names, that of the page marked."""
    header = ("name", "winner", "folds finished", "cases", "selection score", "cross-fitted")
    rows = [
        (
            each.name,
            each.winner or NOTHING,
            str(each.num_folds),
            NOTHING if each.num_cases is None else str(each.num_cases),
            decimals(each.selection_score),
            decimals(each.cross_fitted),
        )
        for each in results
    ]
    place = next((number for number, each in enumerate(results) if each.name == own), None)
    count = len(results) - (place is not None)
    others = f"{counted(count, 'other name')} {'is' if count == 1 else 'are'} in the same folder"
    told = paragraph(f"The other parts of this page are about {own} alone; {others}.")
    return told + table(header, rows, place, "this page") + paragraph(NOTE, quiet=True)
