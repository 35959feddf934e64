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
    """Two groups of differences +0.5 and -0.5 by four cases each: only the means +0.5, 0 and -0.5 can be drawn."""
    full, half = Counts(2, 0, 0, 6), Counts(1, 1, 1, 5)
    one = candidate("one", [(full, full)] * 4 + [(half, half)] * 4)
    other = candidate("other", [(half, half)] * 4 + [(full, full)] * 4)
    groups = {f"case{number}": "x" if number < 4 else "y" for number in range(8)}
    assert paired_difference(one, other, groups, resamples=2000) == Difference(0.0, -0.5, 0.5, 8)
    alone = paired_difference(one, other, {}, resamples=2000)
    assert alone.low is not None
    assert alone.high is not None
    assert -0.5 < alone.low < 0 < alone.high < 0.5  # 1 of 256 draws are of one kind


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


def test_one_case_or_group_has_no_interval():
    one, other = random_candidate("one", 1, cases=1), random_candidate("other", 2, cases=1)
    assert paired_difference(one, other, {}).low is None
    groups = {f"case{i}": "all" for i in range(8)}
    assert paired_difference(random_candidate("one", 1), random_candidate("other", 2), groups).high is None


def test_without_a_case_of_both_or_a_defined_dice_there_is_nothing():
    absent = Counts(0, 0, 0, 8)
    nothing = candidate("nothing", [(absent, absent)] * 3)
    found = paired_difference(nothing, nothing, {}, resamples=10)
    assert math.isnan(found.dice)
    assert (found.low, found.high, found.num_cases) == (None, None, 3)
    first = Candidate("first", ("first",), {0: nothing.by_fold[0]})
    second = Candidate("second", ("second",), {1: nothing.by_fold[1]})
    assert paired_difference(first, second, {}).num_cases == 0
