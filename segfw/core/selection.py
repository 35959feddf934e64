"""Which configuration wins: the best mean foreground Dice over the cases of all its folds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segfw.core.errors import DataError
from segfw.core.metrics import CaseMetrics, summarize


@dataclass(frozen=True)
class Candidate:
    """A configuration (or several, ensembled) with the whole-case scores of its finished folds.

    `cases`: a case that several folds validate (a person's own folds may do so) is there once for each.
    """

    name: str
    configurations: tuple[str, ...]
    folds: tuple[int, ...]
    cases: tuple[CaseMetrics, ...]


@dataclass(frozen=True)
class Score:
    """What a candidate reached. NaN means that none of its cases has foreground in reference or prediction.

    `num_cases`: cases, however many folds validated each.
    """

    name: str
    configurations: tuple[str, ...]
    folds: tuple[int, ...]
    num_cases: int
    dice: float
    dice_per_label: dict[str, float]


@dataclass(frozen=True)
class Selection:
    """The winner and every candidate, in the order in which they were given.

    `same_cases`: whether all were scored on the same cases; if not (a fold is missing), their means are no fair
    comparison.
    """

    winner: str
    scores: tuple[Score, ...]
    same_cases: bool

    @property
    def best(self) -> Score:
        """The winner's score."""
        return next(score for score in self.scores if score.name == self.winner)


def score(candidate: Candidate) -> Score:
    """Average the candidate's Dice over its cases per label, then over labels; a case counts for each of its folds."""
    summary = summarize(candidate.cases)
    return Score(
        name=candidate.name,
        configurations=candidate.configurations,
        folds=candidate.folds,
        num_cases=len({case.case for case in candidate.cases}),
        dice=summary.foreground_mean["dice"],
        dice_per_label={name: row["dice"] for name, row in summary.mean.items()},
    )


def select(candidates: Sequence[Candidate]) -> Selection:
    """Choose the candidate of the highest mean foreground Dice; ties go to the first, NaN loses to every number.

    Raises `DataError` without candidates or with two of one name.
    """
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) < len(names):
        raise DataError(f"selection needs at least one candidate, each with a name of its own, got {names}")
    scores = tuple(score(candidate) for candidate in candidates)
    winner = max(scores, key=lambda entry: -math.inf if math.isnan(entry.dice) else entry.dice)
    case_sets = {tuple(sorted(case.case for case in candidate.cases)) for candidate in candidates}
    return Selection(winner.name, scores, same_cases=len(case_sets) == 1)
