"""Which candidate wins: the best mean foreground Dice over whole cases, each segmented by a fold that had not seen it.

Candidates are configurations and ensembles of them. What they reached is called a selection score: it chose the winner,
and is the better for it by luck; `cross_fitting` says what is left on cases that had no part in the choice.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from segfw.core.errors import DataError
from segfw.core.scoring.metrics import CaseMetrics, summarize

Key = tuple[int, str]
"""A fold and a case that it validates."""


@dataclass(frozen=True)
class Candidate:
    """A configuration, or several averaged, with the whole-case metrics of each finished fold.

    `members`: the names of the single candidates that it is made of. A case that several folds validate (a person's own
    folds may do so) is there once for each.
    """

    name: str
    members: tuple[str, ...]
    by_fold: dict[int, tuple[CaseMetrics, ...]]

    @cached_property
    def outcomes(self) -> dict[Key, CaseMetrics]:
        """Fold and case -> metrics."""
        return {(fold, case.case): case for fold, cases in self.by_fold.items() for case in cases}

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that have a case."""
        return tuple(fold for fold, cases in self.by_fold.items() if cases)

    @property
    def cases(self) -> tuple[CaseMetrics, ...]:
        """The metrics of every fold, one after the other."""
        return tuple(case for cases in self.by_fold.values() for case in cases)

    def only(self, keys: Collection[Key]) -> "Candidate":
        """Return the same on some of the cases."""
        kept = {fold: tuple(c for c in cases if (fold, c.case) in keys) for fold, cases in self.by_fold.items()}
        return Candidate(self.name, self.members, {fold: cases for fold, cases in kept.items() if cases})


@dataclass(frozen=True)
class Difference:
    """How much better the winner is than a candidate, on the `num_cases` cases of both: positive where it is better.

    `low` and `high` bound its 95 % interval (see `bootstrap`), None where there are too few cases or groups.
    """

    dice: float
    low: float | None
    high: float | None
    num_cases: int


@dataclass(frozen=True)
class Score:
    """What a candidate reached. NaN means that none of its cases has foreground in reference or prediction.

    `num_cases`: cases, however many folds validated each. `selection_score` is what chose: the mean Dice over the cases
    that all candidates have; over its own, like `dice`, where there are none. `winner_ahead_by`: None for the winner.
    """

    name: str
    members: tuple[str, ...]
    folds: tuple[int, ...]
    num_cases: int
    dice: float
    dice_per_label: dict[str, float]
    selection_score: float
    winner_ahead_by: Difference | None = None


@dataclass(frozen=True)
class Selection:
    """The winner and every candidate, in the order in which they were given.

    `same_cases`: whether all were scored on the same cases; if not (a fold is missing), `num_common` cases, which all
    have, decided.
    """

    winner: str
    scores: tuple[Score, ...]
    same_cases: bool
    num_common: int

    @property
    def best(self) -> Score:
        """The winner's score."""
        return next(score for score in self.scores if score.name == self.winner)


def score(candidate: Candidate, common: Collection[Key] = ()) -> Score:
    """Average the candidate's Dice over its cases per label, then over labels; a case counts for each of its folds."""
    summary = summarize(candidate.cases)
    deciding = candidate.only(common).cases if common else candidate.cases
    return Score(
        name=candidate.name,
        members=candidate.members,
        folds=candidate.folds,
        num_cases=len({case.case for case in candidate.cases}),
        dice=summary.foreground_mean["dice"],
        dice_per_label={name: row["dice"] for name, row in summary.mean.items()},
        selection_score=mean_dice(deciding),
    )


def select(candidates: Sequence[Candidate]) -> Selection:
    """Choose the candidate of the highest mean foreground Dice; ties go to the first, NaN loses to every number.

    Compared on the cases that all candidates have, where there are any. Raises `DataError` without candidates or with
    two of one name.
    """
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) < len(names):
        raise DataError(f"selection needs at least one candidate, each with a name of its own, got {names}")
    common = common_keys(candidates)
    scores = tuple(score(candidate, common) for candidate in candidates)
    winner = max(scores, key=lambda entry: _above_nan(entry.selection_score))
    same = all(len(candidate.outcomes) == len(common) for candidate in candidates)
    return Selection(winner.name, scores, same, len({case for _, case in common}))


def common_keys(candidates: Sequence[Candidate]) -> frozenset[Key]:
    """Return the folds and cases that every candidate has."""
    return frozenset.intersection(*(frozenset(candidate.outcomes) for candidate in candidates))


def mean_dice(cases: Sequence[CaseMetrics]) -> float:
    """Return the mean over labels of the mean over cases; NaN where it is nowhere defined."""
    return summarize(cases).foreground_mean["dice"] if cases else math.nan


def _above_nan(value: float) -> float:
    return -math.inf if math.isnan(value) else value
