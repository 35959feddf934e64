"""Stratification: worked examples, and numbers of labels that no exchange of two units can make more even."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfw.core.cases.stratification import stratify

UNITS = st.integers(2, 12).flatmap(
    lambda units: st.tuples(
        arrays(int, (units, 3), elements=st.integers(0, 2)), arrays(int, units, elements=st.integers(1, 3))
    )
)


def unevenness(folds: np.ndarray, counts: np.ndarray, num_folds: int) -> int:
    return sum(int((counts[folds == fold].sum(0) ** 2).sum()) for fold in range(num_folds))


def test_the_rarest_label_is_dealt_out_first() -> None:
    # label 1 is in two cases of six, label 0 in all: each of two folds gets one case of label 1 and three in all
    counts = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [1, 0]])
    folds = np.array(stratify(counts, np.ones(6, int), 2))
    assert [int(counts[folds == fold, 1].sum()) for fold in range(2)] == [1, 1]
    assert np.bincount(folds).tolist() == [3, 3]


def test_common_labels_are_even_too() -> None:
    # 100 cases with 20 labels, each in half of them: chance gives folds that differ by up to 9, dealing out by up to 7
    counts = np.random.default_rng(0).integers(0, 2, (100, 20))
    folds = np.array(stratify(counts, np.ones(100, int), 5))
    numbers = np.array([counts[folds == fold].sum(0) for fold in range(5)])
    assert np.ptp(numbers, axis=0).max() <= 3
    by_chance = np.array([counts[fold::5].sum(0) for fold in range(5)])
    assert np.ptp(by_chance, axis=0).max() >= 8


def test_cases_without_any_label_are_dealt_out_as_well() -> None:
    assert np.bincount(stratify(np.zeros((7, 0), int), np.ones(7, int), 3)).tolist() == [3, 2, 2]


@given(UNITS, st.integers(2, 4))
def test_no_exchange_of_two_units_of_one_size_helps(units: tuple[np.ndarray, np.ndarray], num_folds: int) -> None:
    counts, sizes = units
    folds = np.array(stratify(counts, sizes, num_folds))
    assert set(folds.tolist()) <= set(range(num_folds))
    assert len(set(folds.tolist())) == min(num_folds, len(sizes))
    before = unevenness(folds, counts, num_folds)
    for one in range(len(sizes)):
        for other in range(one):
            if sizes[one] == sizes[other]:
                swapped = folds.copy()
                swapped[[one, other]] = folds[[other, one]]
                assert unevenness(swapped, counts, num_folds) >= before


@given(st.integers(2, 5), st.integers(0, 20))
def test_sizes_differ_by_one_case_at_most(num_folds: int, extra: int) -> None:
    counts = np.random.default_rng(extra).integers(0, 2, (num_folds + extra, 4))
    sizes = np.bincount(stratify(counts, np.ones(len(counts), int), num_folds), minlength=num_folds)
    assert sizes.max() - sizes.min() <= 1
