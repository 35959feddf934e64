"""Two trainings on the same cases: numbers worked out by hand, and laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segfw.core.scoring.comparison import (
    LEAST_PAIRS,
    MOST_EXACT,
    PairedComparison,
    common_cases,
    compare_pairs,
    holm,
    signed_rank_p,
    with_holm,
)
from segfw.core.scoring.metrics import CaseMetrics, Counts, case_dice

ABSENT = Counts(0, 0, 0, 9)


def dice(tenths):
    """Counts whose Dice is `tenths` / 10."""
    return Counts(tenths, 10 - tenths, 10 - tenths, 0)


def cases(rows, names=None):
    """One case per row, with a Dice for each label, in tenths; None for one that is in neither map."""
    named = names or [f"case{number}" for number in range(len(rows))]
    return [
        CaseMetrics(name, {label: ABSENT if t is None else dice(t) for label, t in zip("abc", row, strict=False)})
        for name, row in zip(named, rows, strict=True)
    ]


def test_a_case_counts_by_the_labels_that_it_has():
    one, two, neither = cases([(4, 8), (None, 5), (None, None)])
    assert (case_dice(one), case_dice(two)) == pytest.approx((0.6, 0.5))
    assert math.isnan(case_dice(neither))


def test_six_cases_that_all_improve_are_the_least_that_can_be_significant():
    before, after = cases([(1,), (2,), (3,), (1,), (2,), (0,)]), cases([(2,), (4,), (6,), (5,), (7,), (6,)])
    found = compare_pairs(before, after, {})
    assert (found.wins, found.ties, found.losses) == (6, 0, 0)
    assert found.difference.dice == pytest.approx((1 + 2 + 3 + 4 + 5 + 6) / 60)
    assert found.difference.num_cases == 6
    assert found.p_value == pytest.approx(2 / 2**6)  # all of six signs agree


def test_equal_cases_are_ties_and_five_that_differ_are_too_few():
    before, after = cases([(1,), (2,), (3,), (1,), (2,), (9,)]), cases([(2,), (4,), (6,), (5,), (1,), (9,)])
    found = compare_pairs(before, after, {})
    assert (found.wins, found.ties, found.losses, found.p_value) == (4, 1, 1, None)


def test_ranks_of_six_with_the_two_smallest_against():
    """Ranks 1 and 2 are negative: W = 3. Five of 64 sets of ranks sum up to 3 at most: none, 1, 2, 3, 1 and 2."""
    assert signed_rank_p(np.array([-0.1, -0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx(10 / 64)


def test_ties_share_their_ranks():
    """Six equal gains and one equal loss, all of rank 4: six of seven or more are positive in 7 + 1 of 128 choices."""
    assert signed_rank_p(np.array([0.1, 0.1, 0.1, -0.1, 0.1, 0.1, 0.1])) == pytest.approx(2 * 8 / 128)


@pytest.mark.parametrize("number", [6, 20, 50, 51, 80])
def test_against_scipy_where_there_are_no_ties(number):
    changes = np.random.default_rng(number).normal(0.3, 1, number)
    method = "exact" if number <= MOST_EXACT else "approx"
    assert signed_rank_p(changes) == pytest.approx(stats.wilcoxon(changes, method=method).pvalue)


def test_only_what_both_have_is_compared():
    first = cases([(1, 9), (2, 9)], ["x", "y"])
    other = cases([(5,), (8,)], ["y", "z"])
    found = compare_pairs(first, other, {})
    assert found.labels == ("a",)
    assert (found.difference.dice, found.difference.num_cases, found.wins) == (pytest.approx(0.3), 1, 1)
    assert (found.difference.low, found.difference.high) == (None, None)
    assert common_cases([first, other]) == {"y"}
    assert compare_pairs(first, cases([(5,)], ["z"]), {}) is None
    assert compare_pairs(first, [CaseMetrics("x", {"other": dice(3)})], {}) is None


def test_a_group_is_one_pair():
    before, after = cases([(5,), (5,), (5,)]), cases([(7,), (4,), (5,)])
    found = compare_pairs(before, after, {"case0": "P1", "case1": "P1"})
    assert (found.wins, found.ties, found.losses) == (1, 1, 0)  # P1 gains 0.2 - 0.1
    assert found.difference.num_cases == 3


def test_a_case_of_several_folds_is_one_pair():
    before = [*cases([(2,)]), *cases([(4,)])]
    after = [*cases([(3,)]), *cases([(7,)])]
    found = compare_pairs(before, after, {})
    assert (found.wins, found.ties, found.losses) == (1, 0, 0)
    assert found.difference.dice == pytest.approx(0.2)


def test_a_case_without_foreground_is_no_pair():
    found = compare_pairs(cases([(5,), (None,)]), cases([(6,), (3,)]), {})
    assert (found.wins, found.ties, found.losses) == (1, 0, 0)


def test_rounding_makes_no_difference():
    labels = cases([(1, 2, 3)])
    (case,) = labels
    turned = CaseMetrics(case.case, dict(reversed(case.labels.items())))
    assert compare_pairs(labels, [turned], {}).ties == 1


def test_holm_by_hand():
    """0.01 * 3; 0.02 * 2; 0.03 * 1 is less than the one before, so that it is raised to it."""
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_comparisons_without_a_test_take_no_part_in_holms_correction():
    six = compare_pairs(cases([(1,)] * 6), cases([(2,), (3,), (4,), (5,), (6,), (7,)]), {})
    few = compare_pairs(cases([(1,)]), cases([(2,)]), {})
    found = with_holm([six, None, few, six])
    assert [None if each is None else each.p_holm for each in found] == pytest.approx([4 / 64, None, None, 4 / 64])


ROWS = st.lists(st.tuples(st.integers(0, 10), st.none() | st.integers(0, 10)), min_size=1, max_size=12)


@settings(max_examples=40)
@given(ROWS, st.randoms())
def test_the_other_way_round_everything_is_mirrored(rows, random):
    others = [(random.randint(0, 10), None if b is None else random.randint(0, 10)) for _, b in rows]
    there, back = (compare_pairs(*map(cases, each), {}, 50) for each in ((rows, others), (others, rows)))
    assert isinstance(there, PairedComparison)
    assert (there.wins, there.ties, there.losses) == (back.losses, back.ties, back.wins)
    assert there.wins + there.ties + there.losses == len(rows)
    assert there.difference.dice == pytest.approx(-back.difference.dice)
    assert (there.p_value is None) == (there.wins + there.losses < LEAST_PAIRS)
    assert there.p_value == back.p_value or there.p_value == pytest.approx(back.p_value)
    if there.difference.low is not None:
        assert (there.difference.low, there.difference.high) == pytest.approx(
            (-back.difference.high, -back.difference.low)
        )


@settings(max_examples=20)
@given(ROWS)
def test_a_training_beside_itself_is_equal_everywhere(rows):
    found = compare_pairs(cases(rows), cases(rows), {}, 50)
    assert (found.wins, found.losses, found.p_value, found.difference.dice) == (0, 0, None, 0)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_lowers_nothing(p_values):
    corrected = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, corrected, strict=True))
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [corrected[index] for index in order] == sorted(corrected)
