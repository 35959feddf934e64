"""Folds: the reference's own split of 260 cases, and the laws of every kind."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.cases.splits import (
    Fold,
    Leak,
    check_splits,
    find_leak,
    group_splits,
    leave_one_out_splits,
    listed,
    random_splits,
    stratified_splits,
)
from segfw.core.errors import DataError, UsageError

GOLDEN = Path(__file__).parents[2] / "golden" / "hippocampus_splits" / "splits_final.json"
NUMBERS, SEEDS = st.integers(2, 6), st.integers(0, 2**32 - 1)


@st.composite
def grouped(draw: st.DrawFn) -> tuple[int, dict[str, str]]:
    """A number of folds and case -> group, at least as many groups as folds."""
    num_folds = draw(NUMBERS)
    sizes = draw(st.lists(st.integers(1, 5), min_size=num_folds, max_size=15))
    return num_folds, {f"p{g:02d}_{i}": f"p{g:02d}" for g, size in enumerate(sizes) for i in range(size)}


@st.composite
def labeled(draw: st.DrawFn) -> tuple[int, dict[str, frozenset[int]]]:
    """A number of folds and case -> labels, at least as many cases as folds."""
    num_folds = draw(NUMBERS)
    held = draw(st.lists(st.frozensets(st.integers(1, 5)), min_size=num_folds, max_size=30))
    return num_folds, {f"case_{i:02d}": labels for i, labels in enumerate(held)}


def backwards(mapping: dict) -> dict:
    return dict(reversed(mapping.items()))


def sizes_of(folds: tuple[Fold, ...]) -> list[int]:
    return [len(fold.val) for fold in folds]


def assert_each_case_validates_once(folds: tuple[Fold, ...], names: list[str]) -> None:
    assert sorted(name for fold in folds for name in fold.val) == sorted(names)
    assert all(sorted((*fold.train, *fold.val)) == sorted(names) for fold in folds)
    assert all(list(part) == sorted(part) for fold in folds for part in (fold.train, fold.val))
    check_splits(folds, names)


def test_folds_are_the_references() -> None:
    golden = json.loads(GOLDEN.read_text())
    names = {name for fold in golden for name in (*fold["train"], *fold["val"])}
    folds = random_splits(names, num_folds=5, seed=12345)
    assert [{"train": list(fold.train), "val": list(fold.val)} for fold in folds] == golden


@given(st.integers(2, 8), st.integers(0, 40), SEEDS)
def test_random_folds_are_equal_in_size(num_folds: int, extra: int, seed: int) -> None:
    names = [f"case_{i:03d}" for i in range(num_folds + extra)]
    folds = random_splits(reversed(names), num_folds, seed)
    assert_each_case_validates_once(folds, names)
    assert max(sizes_of(folds)) - min(sizes_of(folds)) <= 1


@given(grouped(), SEEDS)
def test_no_group_is_on_both_sides(given_groups: tuple[int, dict[str, str]], seed: int) -> None:
    num_folds, groups = given_groups
    folds = group_splits(groups, num_folds, seed)
    assert len(folds) == num_folds
    assert_each_case_validates_once(folds, list(groups))
    assert find_leak(folds, groups) is None
    assert max(sizes_of(folds)) - min(sizes_of(folds)) <= max(Counter(groups.values()).values())
    assert folds == group_splits(backwards(groups), num_folds, seed)


def test_groups_fill_the_smallest_fold_first() -> None:
    # sizes 4, 2, 2, 1, 1 into two folds: 4 | 2, then 2 to the second, then one each
    groups = {f"{group}{i}": group for group, size in zip("abcde", (4, 2, 2, 1, 1), strict=True) for i in range(size)}
    assert sorted(sizes_of(group_splits(groups, 2, 0))) == [5, 5]


def test_the_seed_changes_the_groups_of_a_fold() -> None:
    groups = {f"p{g}_{i}": f"p{g}" for g in range(20) for i in range(2)}
    assert len({group_splits(groups, 5, seed) for seed in range(5)}) == 5


@given(labeled(), SEEDS)
def test_stratified_folds_are_equal_in_size(given_labels: tuple[int, dict[str, frozenset[int]]], seed: int) -> None:
    num_folds, labels = given_labels
    folds = stratified_splits(labels, num_folds, seed)
    assert_each_case_validates_once(folds, list(labels))
    assert max(sizes_of(folds)) - min(sizes_of(folds)) <= 1
    assert folds == stratified_splits(backwards(labels), num_folds, seed)


@given(labeled(), SEEDS)
def test_exclusive_labels_are_shared_out_to_the_last_case(
    given_labels: tuple[int, dict[str, frozenset[int]]], seed: int
) -> None:
    num_folds, several = given_labels
    labels = {name: frozenset(sorted(held)[:1]) for name, held in several.items()}
    for label in range(1, 6):
        share = [sum(label in labels[name] for name in f.val) for f in stratified_splits(labels, num_folds, seed)]
        assert max(share) - min(share) <= 1


@given(grouped(), st.data())
def test_stratified_groups_stay_together(given_groups: tuple[int, dict[str, str]], data: st.DataObject) -> None:
    num_folds, groups = given_groups
    labels = {name: data.draw(st.frozensets(st.integers(1, 4))) for name in groups}
    folds = stratified_splits(labels, num_folds, 0, groups)
    assert_each_case_validates_once(folds, list(groups))
    assert find_leak(folds, groups) is None
    assert folds == stratified_splits(backwards(labels), num_folds, 0, backwards(groups))


def test_a_rare_label_is_in_every_fold() -> None:
    labels = {f"case_{i:02d}": frozenset({1, 2} if i < 5 else {1}) for i in range(50)}
    for seed in range(20):
        folds = stratified_splits(labels, 5, seed)
        assert [sum(2 in labels[name] for name in fold.val) for fold in folds] == [1] * 5
    at_random = [sum(2 in labels[name] for name in fold.val) for fold in random_splits(labels, 5, 12345)]
    assert at_random != [1] * 5


@given(grouped())
def test_leave_one_out_makes_a_fold_of_each_group(given_groups: tuple[int, dict[str, str]]) -> None:
    _, groups = given_groups
    folds = leave_one_out_splits(backwards(groups))
    assert_each_case_validates_once(folds, list(groups))
    assert [{groups[name] for name in fold.val} for fold in folds] == [
        {group} for group in sorted(set(groups.values()))
    ]


def test_too_few_of_anything_is_told_with_numbers() -> None:
    with pytest.raises(DataError, match=r"got 2: \['a', 'b'\]; use split.num_folds=2 or split.kind=leave_one_out$"):
        random_splits(["a", "b"], 5, 0)
    with pytest.raises(UsageError, match=r"split.num_folds must be at least 2, got 1"):
        random_splits(["a", "b"], 1, 0)
    with pytest.raises(DataError, match=r"3 folds need at least 3 groups, got 2: \['x', 'y'\]"):
        group_splits({"a": "x", "b": "y", "c": "x"}, 3, 0)
    with pytest.raises(DataError, match=r"3 folds need at least 3 cases, got 2"):
        stratified_splits({"a": {1}, "b": {2}}, 3, 0)
    with pytest.raises(DataError, match=r"3 folds need at least 3 groups, got 1: \['x'\]$"):
        stratified_splits({"a": {1}, "b": {2}, "c": {1}}, 3, 0, {"a": "x", "b": "x", "c": "x"})
    with pytest.raises(DataError, match=r"leave_one_out needs at least 2 groups of cases, got 1: \['x'\]"):
        leave_one_out_splits({"a": "x", "b": "x"})


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ((), "mine.json: hold no fold"),
        ((Fold(("a", "b"), ("b",)),), r"mine.json: fold 0 has .* both in 'train' and in 'val': \['b'\]"),
        ((Fold(("a",), ("b",)), Fold(("a",), ("x",))), r"fold 1 names cases in 'val' .* \['x'\]"),
        ((Fold(("a",), ()),), "no case in 'val'"),
        ((Fold(("a", "a"), ("b",)),), r"more than once in 'train': \['a'\]"),
    ],
)
def test_wrong_splits_are_refused(folds: tuple[Fold, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_splits(folds, ["a", "b"], "mine.json")


def test_folds_may_leave_cases_out_and_validate_one_several_times() -> None:
    folds = (Fold(("a",), ("b",)), Fold(("c",), ("b",)))
    check_splits(folds, ["a", "b", "c", "d"])
    with pytest.raises(DataError, match=r"fold 1 names cases in 'train' .* \['c'\]"):
        check_splits(folds, ["a", "b", "d"])


def test_a_leak_names_the_first_pair_of_the_first_fold() -> None:
    groups = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b"}
    folds = (Fold(("b1", "b2"), ("a1", "a2", "a3")), Fold(("a2", "a3", "b1"), ("a1", "b2")))
    assert find_leak(folds, groups) == Leak(fold=1, train="a2", val="a1", group="a")
    assert find_leak(folds, {"b1": "b", "b2": "b"}) == Leak(fold=1, train="b1", val="b2", group="b")
    assert find_leak(folds[:1], groups) is None
    assert find_leak(folds, {}) is None


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "['a', 'b']"
    assert listed(["a", "b", "c"], most=2) == "['a', 'b'] and 1 more"


def test_leave_one_out_of_too_many_cases_is_refused_at_once() -> None:
    many = {f"case{number}": f"case{number}" for number in range(3_000)}
    with pytest.raises(DataError, match=r"3000 folds of 3000 cases, which list 9000000 names, more than 5000000; use"):
        leave_one_out_splits(many)
