"""The comparison of two programs, on numbers that can be followed by hand."""

import numpy as np
import pytest

from scripts.benchmarks.accuracy_statistics import compare, flipped, matched


def test_tables_are_matched_by_patient_and_seed() -> None:
    ours = {("a", 0): [0.5, 0.7], ("b", 0): [0.9], ("a", 1): [0.6], ("b", 1): [0.8]}
    theirs = {("a", 0): [0.5], ("b", 0): [0.8], ("a", 1): [0.7], ("b", 1): [0.8]}
    first, second = matched(ours, theirs)
    np.testing.assert_allclose(first, [[0.6, 0.6], [0.9, 0.8]])
    np.testing.assert_allclose(second, [[0.5, 0.7], [0.8, 0.8]])
    with pytest.raises(ValueError, match="not of the same patients and seeds"):
        matched(ours, {("a", 0): [0.5]})


def test_a_difference_that_is_the_same_everywhere_has_no_width() -> None:
    zero = np.zeros((8, 2))
    same = compare(zero + 0.25, zero)
    assert (same.mean, same.low, same.high) == (0.25, 0.25, 0.25)
    assert same.p == 2 / 2**8  # all eight signs alike, this way or that


def test_no_probability_is_told_of_patients_too_few_for_any() -> None:
    zero = np.zeros((5, 1))
    assert compare(zero + 0.25, zero).p is None


def test_a_difference_that_goes_either_way_is_none() -> None:
    either = compare(np.array([[1.0], [-1.0]] * 4), np.zeros((8, 1)))
    assert either.mean == 0
    assert either.low < -0.3
    assert either.high > 0.3
    assert either.p == 1


def test_seeds_of_one_program_are_not_those_of_the_other() -> None:
    seeds = np.tile([0.0, 1.0], (50, 1))
    alike = compare(seeds, seeds)  # seed by seed no difference at all, and yet none is known within 0.5
    assert alike.low < -0.4
    assert alike.high > 0.4


def test_many_signs_are_drawn() -> None:
    rng = np.random.default_rng(0)
    assert flipped(np.ones(30), rng) == pytest.approx(1 / 10_001)
    assert flipped(np.array([3.0, -1.0]), rng) == 1.0
    assert flipped(np.array([3.0, 1.0]), rng) == 0.5
