"""The nonzero crop: golden arrays, the worked examples of nnU-Net's behaviour, and laws."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segfw.core.imaging import cropping
from segfw.core.imaging.cropping import bounding_box, box_slices, crop_to_nonzero, fill_holes

GOLDEN = Path(__file__).parents[2] / "golden" / "cropping"
CASES = json.loads((GOLDEN / "index.json").read_text())
MASKS = arrays(bool, st.tuples(*[st.integers(1, 6)] * 3))


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_crop_equals_the_reference(case: dict) -> None:
    golden = np.load(GOLDEN / case["file"])
    image, label, box = crop_to_nonzero(golden["data"], golden["seg"] if case["seg_given"] else None)
    np.testing.assert_array_equal(image, golden["data_out"])
    np.testing.assert_array_equal(label, golden["seg_out"])
    assert label.dtype == golden["seg_out"].dtype
    assert box == tuple(map(tuple, case["bbox"]))


def block_with_cavity() -> np.ndarray:
    image = np.zeros((1, 5, 6, 7), np.float32)
    image[0, 1:4, 1:5, 2:6] = 5
    image[0, 2, 2:4, 3:5] = 0
    return image


def test_a_closed_cavity_is_inside() -> None:
    _, label, box = crop_to_nonzero(block_with_cavity(), np.zeros((1, 5, 6, 7), np.int16))
    assert box == ((1, 4), (1, 5), (2, 6))
    assert not (label == -1).any()


def test_an_open_cavity_is_outside_but_a_label_in_it_stays() -> None:
    image = block_with_cavity()
    image[0, 2, :, 3] = 0
    given_label = np.zeros((1, 5, 6, 7), np.int16)
    given_label[0, 2, 2, 3] = 1
    untouched = given_label.copy()
    _, label, _ = crop_to_nonzero(image, given_label)
    # Zeroed inside the box: (2, 1..4, 3) and the cavity's (2, 2..3, 4): six voxels, one of them labelled.
    assert (label == -1).sum() == 5
    assert (label == 1).sum() == 1
    np.testing.assert_array_equal(given_label, untouched)


def test_a_single_slice_keeps_its_hole() -> None:
    ring = np.zeros((1, 1, 6, 6), np.float32)
    ring[0, 0, 1:5, 1:5] = 1
    ring[0, 0, 2:4, 2:4] = 0
    assert fill_holes(ring[0] != 0).sum() == 12
    _, label, _ = crop_to_nonzero(ring, None)
    assert label.dtype == np.int8
    assert (label == -1).sum() == 4
    assert (label == 0).sum() == 12


def test_an_empty_image_is_kept_whole() -> None:
    image, label, box = crop_to_nonzero(np.zeros((1, 2, 3, 4), np.float32), None)
    assert image.shape == (1, 2, 3, 4)
    assert box == ((0, 2), (0, 3), (0, 4))
    assert (label == -1).all()


def test_what_is_kept_joins_channels_and_counts_nan() -> None:
    image = np.zeros((2, 1, 1, 3), np.float32)
    image[0, 0, 0, 0], image[1, 0, 0, 2] = 1, np.nan
    _, label, _ = crop_to_nonzero(image, None)
    np.testing.assert_array_equal(label, [[[[0, -1, 0]]]])


def test_unsigned_labels_can_hold_the_marker() -> None:
    image = np.zeros((1, 1, 1, 3), np.float32)
    image[0, 0, 0, [0, 2]] = 1
    _, label, _ = crop_to_nonzero(image, np.zeros((1, 1, 1, 3), np.uint8))
    np.testing.assert_array_equal(label, [[[[0, -1, 0]]]])


@pytest.mark.parametrize("voxels_per_run", [0, 2, 10**9], ids=["runs", "either", "labels"])
@given(MASKS)
def test_filling_equals_scipys(voxels_per_run: int, mask: np.ndarray) -> None:
    with mock.patch.object(cropping, "VOXELS_PER_RUN", voxels_per_run):
        np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


def test_a_way_out_may_wind() -> None:
    # From the closed end at (0, 0) three turns lead to the open side on the right; the lower chamber has no way out.
    maze = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 1, 1, 1],
                     [1, 0, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 1, 1, 1, 1],
                     [1, 1, 1, 1, 1, 1, 1]], bool)  # fmt: skip
    mask = np.repeat(np.stack([np.ones_like(maze), maze, np.ones_like(maze)]), 8, axis=2)
    filled = fill_holes(mask)
    assert (filled[1, 7]).all()
    np.testing.assert_array_equal(filled[1, :6], mask[1, :6])


@given(MASKS)
def test_filling_commutes_with_the_crop(mask: np.ndarray) -> None:
    cut = box_slices(bounding_box(mask))
    assert bounding_box(fill_holes(mask)) == bounding_box(mask)
    np.testing.assert_array_equal(fill_holes(mask)[cut], fill_holes(mask[cut]))
