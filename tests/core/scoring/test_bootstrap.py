"""The interval of a lead: against drawing cases one by one, over groups, and where it means nothing."""

import math

import numpy as np
import pytest

from segfw.core.scoring.bootstrap import SEED, paired_difference
from segfw.core.scoring.metrics import CaseMetrics, Counts, summarize
from segfw.core.scoring.selection import Candidate, Difference


def candidate(name, rows, folds=3):
    """`rows`: per case the counts of the labels a and b."""
    by_fold: dict[int, list[CaseMetrics]] = {}
    for number, (a, b) in enumerate(rows):
        by_fold.setdefault(number % folds, []).append(CaseMetrics(f"case{number}", {"a": a, "b": b}))
    return Candidate(name, (name,), {fold: tuple(cases) for fold, cases in by_fold.items()})


def random_candidate(name, seed, cases=8):
    """Label b is absent from most cases, from some draws altogether."""
    rng = np.random.default_rng(seed)
    absent = Counts(0, 0, 0, 50)
    rows = []
    for number in range(cases):
        a, b = (Counts(int(rng.integers(1, 20)), int(rng.integers(9)), int(rng.integers(9)), 50) for _ in range(2))
        rows.append((a, b if number in (1, 4) else absent))
    return candidate(name, rows)


def test_against_a_loop_over_draws():
    one, other = random_candidate("one", 1), random_candidate("other", 2)
    resamples = 400
    found = paired_difference(one, other, {}, resamples=resamples)
    times = np.random.default_rng(SEED).multinomial(8, [1 / 8] * 8, resamples)
    differences = []
    for row in times:
        means = []
        for each in (one, other):
            drawn = [case for case, count in zip(each.cases, row, strict=True) for _ in range(count)]
            means.append(summarize(drawn).foreground_mean["dice"])
        differences.append(means[0] - means[1])
    low, high = np.quantile(differences, [0.025, 0.975])
    whole = [summarize(each.cases).foreground_mean["dice"] for each in (one, other)]
    assert (found.dice, found.low, found.high) == pytest.approx((whole[0] - whole[1], low, high), abs=1e-12)
    assert found.num_cases == 8
    assert any((row[[1, 3, 4]] == 0).all() for row in times[:, :5])  # draws without label b, too


def test_a_group_is_drawn_as_one():
    """Three groups of difference +0.5 and three of -0.5, four cases each; six are drawn.

    All six of one sign come in 1 of 64 draws (1.6 %), five or six in 7 of 64 (11 %): the bounds are at five to one,
    (5 - 1) / 6 x 0.5.
    """
    full, half = Counts(2, 0, 0, 6), Counts(1, 1, 1, 5)
    one = candidate("one", [(full, full)] * 12 + [(half, half)] * 12)
    other = candidate("other", [(half, half)] * 12 + [(full, full)] * 12)
    groups = {f"case{number}": f"group{number // 4}" for number in range(24)}
    found = paired_difference(one, other, groups, resamples=5000)
    assert (found.dice, found.low, found.high, found.num_cases) == pytest.approx((0.0, -1 / 3, 1 / 3, 24))
    alone = paired_difference(one, other, {}, resamples=5000)
    assert alone.low is not None
    assert alone.high is not None
    assert -1 / 3 < alone.low < 0 < alone.high < 1 / 3  # the mean of 24 draws of +-0.5 has a deviation of 0.1


def test_the_same_seed_gives_the_same_interval_and_a_candidate_never_leads_itself():
    one, other = random_candidate("one", 1), random_candidate("other", 2)
    assert paired_difference(one, other, {}) == paired_difference(one, other, {})
    assert paired_difference(one, one, {}) == Difference(0.0, 0.0, 0.0, 8)


def test_only_cases_of_both_count():
    one, other = random_candidate("one", 1), random_candidate("other", 2)
    part = other.only({key for key in other.outcomes if key[0] == 0})
    same = one.only({key for key in one.outcomes if key[0] == 0})
    assert paired_difference(one, part, {}) == paired_difference(same, part, {})
    assert paired_difference(one, part, {}).num_cases == 3


@pytest.mark.parametrize(("cases", "has_one"), [(1, False), (2, False), (5, False), (6, True)])
def test_fewer_than_six_cases_or_groups_have_no_interval(cases, has_one):
    """All of five differences have one sign in 2 of 32 cases by chance, of six in 2 of 64: less than 5 %."""
    found = paired_difference(random_candidate("one", 1, cases), random_candidate("other", 2, cases), {})
    assert (found.low is not None, found.high is not None) == (has_one, has_one)
    groups = {f"case{i}": f"group{i % cases}" for i in range(8)}
    grouped = paired_difference(random_candidate("one", 1), random_candidate("other", 2), groups)
    assert (grouped.low is not None, grouped.num_cases) == (has_one, 8)


def test_without_a_case_of_both_or_a_defined_dice_there_is_nothing():
    absent = Counts(0, 0, 0, 8)
    nothing = candidate("nothing", [(absent, absent)] * 3)
    found = paired_difference(nothing, nothing, {}, resamples=10)
    assert math.isnan(found.dice)
    assert (found.low, found.high, found.num_cases) == (None, None, 3)
    first = Candidate("first", ("first",), {0: nothing.by_fold[0]})
    second = Candidate("second", ("second",), {1: nothing.by_fold[1]})
    assert paired_difference(first, second, {}).num_cases == 0
