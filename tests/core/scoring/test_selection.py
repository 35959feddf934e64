"""The choice among candidates, with ties, undefined scores and missing folds."""

import math

import pytest

from segfw.core.errors import DataError
from segfw.core.scoring.metrics import CaseMetrics, Counts
from segfw.core.scoring.selection import Candidate, select

ABSENT, HALF, FULL = Counts(0, 0, 0, 8), Counts(1, 1, 1, 5), Counts(2, 0, 0, 6)
THIRDS = Counts(1, 1, 0, 6)


def candidate(name, *counts):
    """Case i is validated by fold i."""
    return Candidate(name, (name,), {i: (CaseMetrics(f"case{i}", {"organ": n}),) for i, n in enumerate(counts)})


def test_highest_mean_wins_and_all_are_listed():
    selection = select([candidate("2d", HALF, FULL), candidate("3d_fullres", FULL, FULL)])
    assert selection.winner == "3d_fullres"
    assert [(s.name, s.dice, s.num_cases) for s in selection.scores] == [("2d", 0.75, 2), ("3d_fullres", 1.0, 2)]
    assert selection.best.dice_per_label == {"organ": 1.0}
    assert selection.same_cases


def test_tie_goes_to_the_first():
    assert select([candidate("2d", HALF, FULL), candidate("3d_fullres", FULL, HALF)]).winner == "2d"


@pytest.mark.parametrize("order", [1, -1])
def test_nan_is_worst_in_any_order(order):
    candidates = [candidate("undefined", ABSENT, ABSENT), candidate("bad", Counts(0, 1, 1, 6), ABSENT)][::order]
    selection = select(candidates)
    assert selection.winner == "bad"
    assert selection.best.dice == 0.0
    assert select(candidates[:1]).scores[0].name == select(candidates[:1]).winner


def test_only_nan_takes_the_first():
    selection = select([candidate("a", ABSENT), candidate("b", ABSENT)])
    assert selection.winner == "a"
    assert math.isnan(selection.best.dice)


def test_missing_fold_is_told():
    assert not select([candidate("2d", HALF, FULL), candidate("3d_fullres", FULL)]).same_cases


def test_refusals():
    with pytest.raises(DataError, match=r"got \[\]"):
        select([])
    with pytest.raises(DataError, match="'2d', '2d'"):
        select([candidate("2d", HALF), candidate("2d", FULL)])


def test_a_case_that_several_folds_validate_counts_for_each_of_them():
    cases = [CaseMetrics(name, {"organ": counts}) for name, counts in (("a", FULL), ("a", HALF), ("b", HALF))]
    selection = select([Candidate("2d", ("2d",), {0: tuple(cases[:1]), 1: tuple(cases[1:])})])
    assert (selection.best.num_cases, selection.best.dice) == (2, pytest.approx((1.0 + 0.5 + 0.5) / 3))
    once = Candidate("3d_fullres", ("3d_fullres",), {1: tuple(cases[1:])})
    twice = Candidate("2d", ("2d",), {0: tuple(cases[:1]), 1: tuple(cases[1:])})
    selection = select([twice, once])
    assert (selection.same_cases, selection.num_common) == (False, 2)


def test_candidates_of_different_cases_are_compared_on_those_they_share():
    """The first has the better mean, thanks to an easy case that the other lacks."""
    selection = select([candidate("2d", HALF, FULL, FULL), candidate("3d_fullres", THIRDS)])
    assert (selection.winner, selection.same_cases, selection.num_common) == ("3d_fullres", False, 1)
    assert [s.dice for s in selection.scores] == [pytest.approx(2.5 / 3), pytest.approx(2 / 3)]
    assert [s.selection_score for s in selection.scores] == [0.5, pytest.approx(2 / 3)]


def test_without_a_shared_case_the_means_decide():
    other = Candidate("3d_fullres", ("3d_fullres",), {1: (CaseMetrics("case1", {"organ": FULL}),)})
    selection = select([candidate("2d", HALF), other])
    assert (selection.winner, selection.same_cases, selection.num_common) == ("3d_fullres", False, 0)


def test_a_tie_of_a_configuration_and_its_ensemble_goes_to_the_configuration():
    ensemble = Candidate("2d + 3d_fullres", ("2d", "3d_fullres"), candidate("", FULL, HALF).by_fold)
    assert select([candidate("2d", HALF, FULL), candidate("3d_fullres", HALF, HALF), ensemble]).winner == "2d"
