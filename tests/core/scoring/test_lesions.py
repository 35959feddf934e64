"""Lesions matched by hand, and laws of the matching."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from segfw.core.scoring.lesions import LesionCounts, count_lesions

MASKS = arrays(np.bool_, (4, 5, 6))


def test_lesions_by_hand():
    """Reference lesions at 0, 2-3, 5-6 and 9; predictions at 0-3 (finds two), 6 (one voxel) and 11 (none)."""
    reference, prediction = np.zeros((2, 12), bool)
    reference[[0, 2, 3, 5, 6, 9]] = True
    prediction[[0, 1, 2, 3, 6, 11]] = True
    counts = count_lesions(reference, prediction)
    assert counts == LesionCounts(tp=3, fp=1, fn=1)
    assert counts.f1 == 6 / 8


def test_corners_join_a_lesion():
    reference = np.zeros((3, 3, 3), bool)
    reference[0, 0, 0] = reference[1, 1, 1] = True
    assert count_lesions(reference, np.zeros_like(reference)) == LesionCounts(0, 0, 1)


def test_no_lesion_at_all():
    nothing = np.zeros((2, 2), bool)
    assert math.isnan(count_lesions(nothing, nothing).f1)
    assert count_lesions(nothing, ~nothing).f1 == 0
    assert count_lesions(np.zeros((0, 0), bool), np.zeros((0, 0), bool)) == LesionCounts(0, 0, 0)


@settings(deadline=None, max_examples=50)
@given(MASKS, MASKS)
def test_laws(reference, prediction):
    counts = count_lesions(reference, prediction)
    back = count_lesions(prediction, reference)
    assert (counts.tp > 0) == bool((reference & prediction).any()) == (back.tp > 0)
    assert (counts.fp, counts.fn) == (back.fn, back.fp)
    perfect = count_lesions(reference, reference)
    assert (perfect.fp, perfect.fn) == (0, 0)
