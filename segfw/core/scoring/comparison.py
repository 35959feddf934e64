"""Whether one training is better than another: both on the same cases, difference by difference.

The Wilcoxon signed-rank test (Wilcoxon: Individual comparisons by ranking methods, 1945) of each case's mean Dice over
the labels, two-sided; equal cases are left out. With fewer than six differing ones it can never come below 0.05, since
all of n signs agree with probability 2 / 2^n: no test is made then. Several comparisons with the same first training
are corrected by Holm's rule (A simple sequentially rejective multiple test procedure, 1979).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from segfw.core.scoring.bootstrap import RESAMPLES, paired_difference
from segfw.core.scoring.metrics import CaseMetrics, case_dice
from segfw.core.scoring.selection import Candidate, Difference
from segfw.core.types import FloatArray

LEAST_PAIRS = 6
MOST_EXACT = 50
"""Pairs of which every choice of signs is counted, ties included (scipy does not count those); above, the normal
approximation."""
_DIGITS = 12
"""Of a difference: what is equal but for rounding is a tie."""


@dataclass(frozen=True)
class PairedComparison:
    """Another training beside the first, on the cases that both have.

    `difference`: of the mean foreground Dice, the other's less the first's. `wins`, `ties`, `losses` of the other, in
    units: cases, or groups of cases. `p_value`: None where no test is made; `p_holm`: corrected for all comparisons.
    """

    labels: tuple[str, ...]
    difference: Difference
    wins: int
    ties: int
    losses: int
    p_value: float | None
    p_holm: float | None = None


def common_cases(runs: Sequence[Sequence[CaseMetrics]]) -> frozenset[str]:
    """Return the names of the cases that every run has."""
    return frozenset.intersection(*(frozenset(case.case for case in cases) for cases in runs))


def compare_pairs(
    first: Sequence[CaseMetrics],
    other: Sequence[CaseMetrics],
    groups: Mapping[str, str],
    resamples: int = RESAMPLES,
) -> PairedComparison | None:
    """Compare the labels that both have on the cases that both have; None where there is no such case or label.

    A case that several folds validate counts with each of them, and as one unit. `groups`: case -> group, whose cases
    are one unit; a case that is not there is one by itself. `resamples`: draws behind the interval.
    """
    cases = common_cases((first, other))
    if not cases:
        return None
    labels = tuple(name for name in first[0].labels if name in other[0].labels)
    if not labels:
        return None
    ours, theirs = (_candidate(each, cases, labels) for each in (first, other))
    differences = _unit_means(theirs, groups)
    before = _unit_means(ours, groups)
    changes = np.round([differences[unit] - before[unit] for unit in before], _DIGITS)
    changes = changes[~np.isnan(changes)]
    return PairedComparison(
        labels=labels,
        difference=paired_difference(theirs, ours, groups, resamples),
        wins=int((changes > 0).sum()),
        ties=int((changes == 0).sum()),
        losses=int((changes < 0).sum()),
        p_value=signed_rank_p(changes),
    )


def signed_rank_p(changes: FloatArray) -> float | None:
    """Return the two-sided p-value that `changes` lie about 0; None where fewer than six of them differ from 0."""
    differing = changes[changes != 0]
    if len(differing) < LEAST_PAIRS:
        return None
    if len(differing) > MOST_EXACT:
        return float(stats.wilcoxon(differing, method="approx").pvalue)
    ranks = np.round(2 * stats.rankdata(np.abs(differing))).astype(np.int64)  # doubled: those of ties may be halves
    ways = np.ones(1)  # in how many of all 2^n choices of signs the positive ranks sum up to 0, 1, 2, ...
    for rank in ranks:
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    positive = int(ranks[differing > 0].sum())
    fewest = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return float(min(1.0, 2 * fewest / ways.sum()))


def with_holm(comparisons: Sequence[PairedComparison | None]) -> list[PairedComparison | None]:
    """Return the comparisons with the p-values corrected for their number."""
    tested = [index for index, each in enumerate(comparisons) if each is not None and each.p_value is not None]
    p_values = [each.p_value for each in comparisons if each is not None and each.p_value is not None]
    corrected = dict(zip(tested, holm(p_values), strict=True))
    return [
        None if each is None else replace(each, p_holm=corrected.get(index)) for index, each in enumerate(comparisons)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return each p-value times the number of those not below it, at most 1 and never less than a smaller one's."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _candidate(scored: Sequence[CaseMetrics], cases: frozenset[str], labels: Sequence[str]) -> Candidate:
    """Return the scores of `cases` and `labels`, the n-th of a case as those of a fold n, for both trainings alike."""
    times: dict[str, int] = {}
    by_fold: dict[int, tuple[CaseMetrics, ...]] = {}
    for case in scored:
        if case.case in cases:
            fold = times.get(case.case, 0)
            times[case.case] = fold + 1
            kept = CaseMetrics(case.case, {label: case.labels[label] for label in labels})
            by_fold[fold] = (*by_fold.get(fold, ()), kept)
    return Candidate("", (), by_fold)


def _unit_means(candidate: Candidate, groups: Mapping[str, str]) -> dict[str, float]:
    """Return unit -> mean foreground Dice of its cases; NaN where a unit has none.

    A unit's name tells a group from a case of the same name.
    """
    found: dict[str, list[float]] = {}
    for case in candidate.cases:
        group = groups.get(case.case)
        found.setdefault(f"case {case.case}" if group is None else f"group {group}", []).append(case_dice(case))
    defined = {unit: [dice for dice in values if not math.isnan(dice)] for unit, values in found.items()}
    return {unit: float(np.mean(values)) if values else math.nan for unit, values in defined.items()}
