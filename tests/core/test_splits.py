"""Folds: the reference's own split of 260 cases, and laws of any split."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import DataError, UsageError
from segfw.core.splits import Fold, check_splits, make_splits

GOLDEN = Path(__file__).parents[1] / "golden" / "hippocampus_splits" / "splits_final.json"


def test_folds_are_the_references() -> None:
    golden = json.loads(GOLDEN.read_text())
    names = {name for fold in golden for name in (*fold["train"], *fold["val"])}
    folds = make_splits(names, num_folds=5, seed=12345)
    assert [{"train": list(fold.train), "val": list(fold.val)} for fold in folds] == golden


@given(st.integers(2, 8), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_each_case_validates_once(num_folds: int, extra: int, seed: int) -> None:
    names = [f"case_{i:03d}" for i in range(num_folds + extra)]
    folds = make_splits(reversed(names), num_folds, seed)
    assert sorted(name for fold in folds for name in fold.val) == names
    assert all(sorted((*fold.train, *fold.val)) == names for fold in folds)
    sizes = [len(fold.val) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    check_splits(folds, names)


def test_too_few_cases() -> None:
    with pytest.raises(DataError, match=r"at least 5 cases, got 2: \['a', 'b'\]"):
        make_splits(["a", "b"], 5, 0)
    with pytest.raises(UsageError, match="at least 2, got 1"):
        make_splits(["a", "b"], 1, 0)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ((), "hold no fold"),
        ((Fold(("a", "b"), ("b",)),), r"both in 'train' and in 'val': \['b'\]"),
        ((Fold(("a",), ("b",)), Fold(("a",), ("x",))), r"fold 1 names cases in 'val' .* \['x'\]"),
        ((Fold(("a",), ()),), "no case in 'val'"),
        ((Fold(("a", "a"), ("b",)),), r"more than once in 'train': \['a'\]"),
    ],
)
def test_wrong_splits_are_refused(folds: tuple[Fold, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_splits(folds, ["a", "b"])
