"""Confusions counted by hand."""

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.core.labels import LabelSet
from segfw.core.scoring.label_confusion import add_pairs, confuse, confusion_of

LABELS = LabelSet({"background": 0, "liver": 1, "tumor": 2, "ignore": 3})
REFERENCE = np.array([[0, 0, 1, 1], [1, 1, 2, 3]])
PREDICTION = np.array([[0, 1, 1, 1], [1, 2, 0, 2]])


def test_pairs_are_counted_where_the_reference_is_annotated():
    assert confuse(REFERENCE, PREDICTION, LABELS) == {(0, 0): 1, (0, 1): 1, (1, 1): 3, (1, 2): 1, (2, 0): 1}


def test_the_matrix_is_normalized_by_row():
    confusion = confusion_of(confuse(REFERENCE, PREDICTION, LABELS), LABELS)
    assert confusion.values == (0, 1, 2)
    assert confusion.counts == ((1, 1, 0), (0, 3, 1), (1, 0, 0))
    assert confusion.shares.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.75, 0.25], [1.0, 0.0, 0.0]]


def test_a_label_that_no_reference_has_has_no_shares():
    shares = confusion_of({(0, 0): 4, (0, 2): 4}, LABELS).shares
    assert shares[0].tolist() == [0.5, 0.0, 0.5]
    assert np.isnan(shares[1:]).all()


def test_cases_add_up():
    assert add_pairs({(0, 0): 1, (1, 1): 2}, {(1, 1): 3, (1, 0): 5}) == {(0, 0): 1, (1, 1): 5, (1, 0): 5}


def test_values_of_regions_are_compared_as_they_are_painted():
    labels = LabelSet({"background": 0, "whole": (1, 2), "core": 2}, regions_class_order=(1, 2))
    pairs = confuse(np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1]), labels)
    assert confusion_of(pairs, labels).counts == ((1, 0, 0), (0, 0, 1), (0, 1, 1))


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"\(2, 4\) and \(4,\)"):
        confuse(REFERENCE, PREDICTION[0], LABELS)
