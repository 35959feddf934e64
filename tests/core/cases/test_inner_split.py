"""The inner split: laws over every fold, and the shares worked out by hand."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from segfw.core.cases.inner_split import inner_split, is_inner_split
from segfw.core.cases.splits import Fold
from segfw.core.errors import UsageError

SHARES = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def folds(draw: st.DrawFn) -> tuple[Fold, dict[str, str]]:
    """A fold and case -> group, with at least two groups of training cases."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=12))
    groups = {f"p{g:02d}_{i}": f"p{g:02d}" for g, size in enumerate(sizes) for i in range(size)}
    return Fold(tuple(sorted(groups)), ("x_0", "x_1")), {**groups, "x_0": "x", "x_1": "x"}


@given(folds(), SHARES, SEEDS, st.integers(0, 9))
def test_training_cases_are_divided_by_whole_groups(drawn, share, seed, number):
    fold, groups = drawn
    inner = inner_split(fold, share, seed, number, groups)
    assert sorted((*inner.train, *inner.val)) == sorted(fold.train)
    assert inner.train
    assert inner.val
    assert not {groups[case] for case in inner.train} & {groups[case] for case in inner.val}
    assert not {*inner.train, *inner.val} & {*fold.val}
    assert list(inner.val) == sorted(inner.val)
    assert is_inner_split(inner.train, inner.val, fold)


@given(folds(), SHARES, SEEDS)
def test_no_more_than_the_share_is_held_out_unless_no_group_is_that_small(drawn, share, seed):
    fold, groups = drawn
    held = len(inner_split(fold, share, seed, 0, groups).val)
    smallest = min(sum(groups[case] == group for case in fold.train) for group in {groups[c] for c in fold.train})
    assert held <= max(round(share * len(fold.train)), smallest)


@given(folds(), SHARES, SEEDS)
def test_the_order_of_cases_does_not_matter(drawn, share, seed):
    fold, groups = drawn
    turned = Fold(tuple(reversed(fold.train)), fold.val)
    assert inner_split(turned, share, seed, 2, groups) == inner_split(fold, share, seed, 2, groups)


@given(st.integers(2, 40), st.integers(1, 99), SEEDS)
def test_cases_that_stand_alone_give_the_share_exactly(number, percent, seed):
    share = percent / 100
    assume(round(share * number) not in (0, number))
    names = tuple(f"c{i:02d}" for i in range(number))
    inner = inner_split(Fold(names, ("x",)), share, seed, 0, {name: name for name in names})
    assert len(inner.val) == round(share * number)


def test_folds_and_seeds_hold_out_other_cases():
    names = tuple(f"c{i:02d}" for i in range(40))
    groups = {name: name for name in names}
    held = {inner_split(Fold(names, ("x",)), 0.5, s, n, groups).val for s, n in ((1, 0), (1, 1), (2, 0))}
    assert len(held) == 3


def test_one_group_cannot_be_divided():
    fold = Fold(("ann_1", "ann_2"), ("bob_1",))
    with pytest.raises(UsageError, match=r"split.inner_share=0.3 .*fold 4, .*got 1: \['ann_1', 'ann_2'\]"):
        inner_split(fold, 0.3, 0, 4, {"ann_1": "ann", "ann_2": "ann", "bob_1": "bob"})


def test_other_cases_are_no_inner_split():
    fold = Fold(("a", "b", "c"), ("d",))
    assert is_inner_split(("a", "c"), ("b",), fold)
    assert not is_inner_split(("a", "b", "c"), (), fold)
    assert not is_inner_split(("a", "b"), ("d",), fold)
    assert not is_inner_split(("a",), ("b",), fold)
