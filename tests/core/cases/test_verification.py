"""What the checks say of arrays, apart from any file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segfw.core.cases.dataset import Dataset
from segfw.core.cases.verification import (
    CaseCheck,
    CaseContent,
    FileVolume,
    check_across,
    content_digest,
    propose_ignore,
    propose_remap,
    value_counts,
)
from segfw.core.labels import LabelSet
from segfw.core.types import Volume

LABELS = LabelSet({"background": 0, "liver": 1, "tumor": 2, "ignore": 3})


def holding(case, *values, image="i", label="l"):
    content = CaseContent((1, 1, 1), (1.0, 1.0, 1.0), dict.fromkeys(values, 1), image, label)
    return CaseCheck(case, (), content)


@given(arrays.arrays(st.sampled_from([np.int16, np.int32, np.float32]), (3, 4, 5), elements=st.integers(-300, 300)))
def test_values_are_counted_as_by_sorting(array):
    values, counts = np.unique(array, return_counts=True)
    assert value_counts(array) == dict(zip(values.astype(int).tolist(), counts.tolist(), strict=True))


def test_values_far_apart_and_fractions():
    assert value_counts(np.array([-(2**30), 7, 7, 2**30], np.int32)) == {-(2**30): 1, 7: 2, 2**30: 1}
    assert value_counts(np.array([0.5, np.nan, np.inf, 2.0], np.float32)) == {2: 1}
    assert value_counts(np.zeros((0, 3), np.int16)) == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_where_the_first_of_them_is(bad):
    array = np.zeros((2, 2, 3, 4), np.float32)
    file = FileVolume("a.nrrd", Volume(array, (1.0, 1.0, 1.0)))
    assert file.not_finite() == []
    array[1, 1, 2, 3] = array[1, 1, 0, 2] = bad
    assert file.not_finite() == [(1, "2 voxels are NaN or infinite, the first at (1, 0, 2) (z, y, x)")]


def test_the_digest_follows_voxels_and_shape():
    array = np.arange(12, dtype=np.int16).reshape(1, 3, 4)
    assert content_digest([array]) == content_digest([np.asfortranarray(array)])
    assert content_digest([array]) != content_digest([array.reshape(1, 4, 3)])
    assert content_digest([array]) != content_digest([array + 1])


@pytest.mark.parametrize(
    ("values", "proposed"),
    [
        ([(0, 1, 3), (0, 2)], 3),
        ([(0, 3), (0, 1), (0, 2)], None),  # in fewer than half of the cases
        ([(0, 1, 4), (0, 2)], None),
        ([(0, 1, 3), (0, 2, 4)], None),
        ([(0, 1), (0, 2)], None),
    ],
)
def test_ignore_is_proposed_for_the_value_after_the_largest(values, proposed):
    checks = [holding(str(number), *found) for number, found in enumerate(values)]
    assert propose_ignore(checks, LabelSet({"background": 0, "liver": 1, "tumor": 2})) == proposed
    assert propose_ignore(checks, LABELS) is None


def test_a_remap_is_proposed_where_the_numbers_agree():
    assert propose_remap([holding("a", 0, 1, 4), holding("b", 0, 255)], LABELS) == {4: 2, 255: 3}
    assert propose_remap([holding("a", 0, 1, 4), holding("b", 0, 2)], LABELS) == {4: 3}
    assert propose_remap([holding("a", 0, 1, 4)], LABELS) == {}
    assert propose_remap([holding("a", 0, 1, 2, 3)], LABELS) == {}


def test_equal_images_are_told_by_what_their_label_maps_hold():
    dataset = Dataset("Set", ("CT",), LABELS, 4)
    checks = [holding(name, 0, image="x", label=label) for name, label in zip("abcd", ["p", "p", "q", ""], strict=True)]
    found = {fault.case: (fault.severity, fault.kind, fault.message) for fault in check_across(checks, dataset)}
    conflict = "the same image as case {}, with another label map"
    assert found == {
        "a": ("error", "conflict", conflict.format("c")),
        "b": ("error", "conflict", conflict.format("c")),
        "c": ("error", "conflict", conflict.format("a")),
        "d": ("warning", "duplicate", "the same image as case a"),
    }


def test_images_that_could_not_be_read_are_no_duplicates():
    checks = [holding(name, image="", label="") for name in "ab"]
    assert check_across(checks, Dataset("Set", ("CT",), LABELS, 2)) == ()
