"""Which cases are shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.scoring.case_choice import choose_cases
from segfw.core.scoring.counts import Counts
from segfw.core.scoring.metrics import CaseMetrics, case_dice


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([], {}),
        ([0.5], {"only case": 0}),
        ([0.9, 0.1], {"worst": 1, "best": 0}),
        ([0.9, 0.1, 0.5], {"worst": 1, "median": 2, "best": 0}),
        ([5, 4, 3, 2, 1], {"worst": 4, "lower quartile": 3, "median": 2, "upper quartile": 1, "best": 0}),
        ([math.nan, 0.2, 0.4], {"worst": 1, "best": 2}),
        ([math.nan, math.nan], {"only case": 0}),
    ],
)
def test_the_worst_the_best_and_those_between(scores, wanted):
    chosen = choose_cases(dict(enumerate(scores)))
    assert chosen == wanted
    assert list(chosen) == list(wanted)


@given(st.lists(st.floats(0, 1), min_size=2))
def test_no_case_is_shown_twice_and_the_extremes_always_are(scores):
    chosen = choose_cases(dict(enumerate(scores)))
    assert len(set(chosen.values())) == len(chosen) <= 5
    assert scores[chosen["worst"]] == min(scores)
    assert scores[chosen["best"]] == max(scores)


def test_a_case_is_judged_by_the_labels_it_has():
    counts = {"liver": Counts(1, 1, 1, 0), "tumor": Counts(0, 0, 0, 3), "vessel": Counts(1, 0, 0, 0)}
    assert case_dice(CaseMetrics("a", counts)) == 0.75  # (1/2 + 1) / 2
    assert math.isnan(case_dice(CaseMetrics("a", {"tumor": Counts(0, 0, 0, 3)})))
