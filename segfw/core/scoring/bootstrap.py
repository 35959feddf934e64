"""How sure the winner's lead is: an interval of the difference of two candidates on the same cases.

The paired bootstrap: cases are drawn with replacement, the same ones for both candidates, and the difference of their
mean Dice is computed again from each draw; the interval spans the 2.5th to the 97.5th percentile (Efron, Tibshirani: An
Introduction to the Bootstrap, 1993, chapters 6 and 13). Cases of one group (a patient) are drawn together, as they are
not independent (Davison, Hinkley: Bootstrap Methods and their Application, 1997, section 3.8).

Of fewer than six cases there is no interval. Where the differences of all n cases have one sign, so has every draw, and
the interval excludes 0; by chance alone all signs agree with probability 2 / 2^n, which is 6 % for five cases and 3 %
for six. Below six an interval of 95 % therefore cannot hold what it says. (Of three cases its bounds are the
single cases: the lowest of them alone is drawn in 1 of 27 draws, which is above 2.5 %.)
"""

import math
from collections.abc import Mapping

import numpy as np

from segfw.core.scoring.selection import Candidate, Difference
from segfw.core.types import FloatArray, IntArray

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
LEAST_UNITS = 6
"""Cases, or groups of cases, that an interval takes."""
NO_INTERVAL = f"no interval: fewer than {LEAST_UNITS} cases or groups"
_AT_ONCE = 1000


def paired_difference(
    winner: Candidate, other: Candidate, groups: Mapping[str, str], resamples: int = RESAMPLES, seed: int = SEED
) -> Difference:
    """Return the winner's lead over another candidate in mean foreground Dice, on the cases that both have.

    `groups`: case -> group; a case that is not there is a group of its own. Without bounds below `LEAST_UNITS` groups.
    """
    keys = [key for key in winner.outcomes if key in other.outcomes]
    if not keys:
        return Difference(math.nan, None, None, 0)
    units = {unit: index for index, unit in enumerate(dict.fromkeys(groups.get(case, case) for _, case in keys))}
    of_case = np.array([units[groups.get(case, case)] for _, case in keys], np.intp)
    totals = [_totals(_dice(candidate, keys), of_case, len(units)) for candidate in (winner, other)]
    once = np.ones((1, len(units)))
    difference = float(_means(once, *totals[0])[0] - _means(once, *totals[1])[0])
    num_cases = len({case for _, case in keys})
    if len(units) < LEAST_UNITS:
        return Difference(difference, None, None, num_cases)
    rng = np.random.default_rng(seed)
    drawn = []
    for first in range(0, resamples, _AT_ONCE):
        number = min(_AT_ONCE, resamples - first)
        times = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), number).astype(np.float64)
        drawn.append(_means(times, *totals[0]) - _means(times, *totals[1]))
    differences = np.concatenate(drawn)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return Difference(difference, None, None, num_cases)
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(difference, float(low), float(high), num_cases)


def _dice(candidate: Candidate, keys: list[tuple[int, str]]) -> FloatArray:
    """Return the Dice (cases, labels), NaN where it is undefined."""
    rows = [[counts.dice for counts in candidate.outcomes[key].labels.values()] for key in keys]
    return np.array(rows, np.float64).reshape(len(keys), -1)


def _totals(dice: FloatArray, unit_of_case: IntArray, units: int) -> tuple[FloatArray, FloatArray]:
    """Return (units, labels) of the sum of the Dice of each unit's cases, and of the number of those that have one."""
    defined = ~np.isnan(dice)
    sums, numbers = np.zeros((units, dice.shape[1])), np.zeros((units, dice.shape[1]))
    np.add.at(sums, unit_of_case, np.where(defined, dice, 0))
    np.add.at(numbers, unit_of_case, defined)
    return sums, numbers


def _means(times: FloatArray, sums: FloatArray, numbers: FloatArray) -> FloatArray:
    """Return the mean over labels of the mean over cases for each row of `times` (draws, units): how often each came.

    A label that no drawn case has does not count; NaN where there is no label at all.
    """
    with np.errstate(invalid="ignore"):
        per_label = (times @ sums) / (times @ numbers)
    defined = ~np.isnan(per_label)
    with np.errstate(invalid="ignore"):
        mean: FloatArray = np.where(defined, per_label, 0).sum(1) / defined.sum(1)
    return mean
