"""The cross-fitted score, worked by hand on three folds."""

import math

import pytest

from segfw.core.scoring.cross_fitting import cross_fit
from segfw.core.scoring.metrics import CaseMetrics, Counts
from segfw.core.scoring.postprocessing import Step
from segfw.core.scoring.selection import Candidate, mean_dice, select

STEP = Step("keep_largest", (1,))


def case(name, dice):
    """A case of a given Dice, in hundredths: 2 TP / (2 TP + FP)."""
    return CaseMetrics(name, {"organ": Counts(dice, 200 - 2 * dice, 0, 1000)})


def candidate(name, *folds):
    """`folds`: the Dice of each case of each fold, in hundredths."""
    return Candidate(
        name,
        (name,),
        {fold: tuple(case(f"{fold}.{i}", dice) for i, dice in enumerate(row)) for fold, row in enumerate(folds)},
    )


def test_three_folds_by_hand():
    """A beats B over all cases (70 to 69.2), and each fold but one.

              fold 0      fold 1    fold 2     mean without fold 0, 1, 2
    A         90          60, 60    70         63.3   80     70
    B         50          80, 80    66         75.3   58     70   (tie: A, which is first)
    A after   +5 each; helps A where it wins without fold 1, by the rule of this test
    """
    a, b = candidate("A", [90], [60, 60], [70]), candidate("B", [50], [80, 80], [66])
    assert select([a, b]).winner == "A"
    determined, asked = [], []

    def determine(part):
        determined.append((part.name, sorted(part.by_fold)))
        return (STEP,) if sorted(part.by_fold) == [0, 2] else ()

    def rescored(part, steps):
        asked.append((part.name, sorted(part.outcomes), steps))
        return [case(c.case, c.labels["organ"].tp + 5) if steps else c for c in part.cases]

    found = cross_fit([a, b], determine, rescored)
    assert determined == [("B", [1, 2]), ("A", [0, 2]), ("A", [0, 1])]
    assert asked == [
        ("B", [(0, "0.0")], ()),
        ("A", [(1, "1.0"), (1, "1.1")], (STEP,)),
        ("A", [(2, "2.0")], ()),
    ]
    assert found.dice == pytest.approx((0.50 + 0.65 + 0.65 + 0.70) / 4)
    assert found.dice_per_label == {"organ": found.dice}
    assert (found.num_cases, found.reason) == (4, "")
    chosen = [(left.fold, left.winner, left.postprocessing, left.num_cases) for left in found.left_out]
    assert chosen == [(0, "B", (), 1), (1, "A", (STEP,), 2), (2, "A", (), 1)]
    assert [left.dice for left in found.left_out] == pytest.approx([0.5, 0.65, 0.7])
    assert found.dice < mean_dice(a.cases)


def test_one_candidate_without_postprocessing_has_its_own_score():
    only = candidate("A", [90], [60, 50])
    found = cross_fit([only], lambda part: (), lambda part, steps: part.cases)
    assert found.dice == pytest.approx(mean_dice(only.cases)) == pytest.approx(2 / 3)


def test_only_cases_of_every_candidate_take_part():
    a, b = candidate("A", [90, 10], [60], [70]), candidate("B", [50], [80])
    found = cross_fit([a, b], lambda part: (), lambda part, steps: part.cases)
    # Without fold 0: B (80 to 60); without fold 1: A (90 to 50).
    assert [(left.winner, left.num_cases) for left in found.left_out] == [("B", 1), ("A", 1)]
    assert found.dice == pytest.approx((0.5 + 0.6) / 2)


def test_fewer_than_two_folds_have_none_and_say_why():
    a, b = candidate("A", [90], [60]), candidate("B", [50])
    found = cross_fit([a, b], lambda part: (), lambda part, steps: part.cases)
    assert (found.dice, found.left_out) == (None, ())
    reason = "it takes two folds at least, and fold 0 alone is finished for every candidate (A: 0, 1; B: 0)"
    assert found.reason == reason
    apart = Candidate("C", ("C",), {7: (case("x", 50),)})
    assert "and no fold is finished for every candidate" in cross_fit([a, apart], lambda p: (), lambda p, s: ()).reason


def test_undefined_dice_stays_undefined():
    absent = Candidate("A", ("A",), {f: (CaseMetrics(str(f), {"organ": Counts(0, 0, 0, 9)}),) for f in (0, 1)})
    found = cross_fit([absent], lambda part: (), lambda part, steps: part.cases)
    assert found.dice is not None
    assert math.isnan(found.dice)
