"""Measures within boxes against the same of whole masks, and by hand."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfw.core.scoring.lesions import count_lesions
from segfw.core.scoring.measures import MEASURES, measure
from segfw.core.scoring.surface import compare_surfaces

MAPS = arrays(np.int16, (4, 5, 6), elements=st.sampled_from([-1, 0, 0, 0, 0, 1, 2, 3]))
KEYS = {"one": (1,), "both": (1, 2), "three": (3,), "odd": (-1, 2)}


@settings(deadline=None, max_examples=40)
@given(MAPS, MAPS, st.sampled_from([None, 3]))
def test_boxes_change_nothing(reference, prediction, ignore):
    spacing = (2.0, 0.5, 0.75)
    found = measure(reference, prediction, KEYS, spacing, 1.0, ignore)
    known = np.ones(reference.shape, bool) if ignore is None else reference != ignore
    for name, key in KEYS.items():
        r, p = np.isin(reference, key) & known, np.isin(prediction, key) & known
        surfaces, lesions, row = compare_surfaces(r, p, spacing, 1.0), count_lesions(r, p), found[name]
        assert (row.hd95_mm, row.assd_mm, row.nsd) == pytest.approx(astuple(surfaces), nan_ok=True)
        assert (row.lesion_tp, row.lesion_fp, row.lesion_fn) == astuple(lesions)
        assert row.lesion_f1 == pytest.approx(lesions.f1, nan_ok=True)


def test_volumes_by_hand():
    reference, prediction = np.zeros((2, 10, 10, 10), np.uint8)
    reference[:5], prediction[:4], prediction[9] = 1, 1, 2
    found = measure(reference, prediction, {"a": (1,), "b": (2,), "c": (3,)}, (5.0, 2.0, 2.0), 1.0)
    assert (found["a"].volume_error, found["a"].volume_difference_ml) == pytest.approx(
        (0.2, -2.0)
    )  # 100 voxels of 20 mm3
    assert math.isnan(found["b"].volume_error)
    assert found["b"].volume_difference_ml == pytest.approx(2.0)
    undefined = [name for name, value in zip(MEASURES, astuple(found["c"]), strict=True) if math.isnan(value)]
    assert undefined == ["hd95_mm", "assd_mm", "nsd", "volume_error", "volume_difference_ml", "lesion_f1"]


def test_a_flat_image_has_no_volume():
    image = np.ones((1, 3, 3), np.uint8)
    found = measure(image, image, {"a": (1,)}, (999.0, 1.0, 1.0), 1.0)["a"]
    assert math.isnan(found.volume_difference_ml)
    assert (found.volume_error, found.nsd) == (0, 1)


def test_a_thin_label_lies_in_a_thick_image():
    """One slice of a volume, 9 voxels, is all border, though its own box is flat; the prediction lacks the middle."""
    reference = np.zeros((5, 3, 3), np.uint8)
    reference[2] = 1
    prediction = reference.copy()
    prediction[2, 1, 1] = 0
    found = measure(reference, prediction, {"a": (1,)}, (1.0, 1.0, 1.0), 0.5)["a"]
    assert found.nsd == pytest.approx(16 / 17)
    assert found.assd_mm == pytest.approx(1 / 17)


def test_truth_values_are_maps_too():
    mask = np.zeros((2, 3, 3), bool)
    mask[1] = True
    assert measure(mask, mask, {"a": (1,)}, (1.0, 1.0, 1.0), 1.0)["a"].hd95_mm == 0
