"""Resampling: golden arrays, the law of scipy's zoom, and examples.

Labels are equal, as votes are added up in scipy's order. Images are to 1e-6 of their range in float32, what a product
of some hundred float32 terms can lose; in float64 to 1e-12.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segfw.core.imaging.resampling import (
    axis_operator,
    nearest_indices,
    resample_channel,
    resample_label,
    resampled_shape,
    separate_axis,
)
from segfw.core.plan import Resampling

GOLDEN = Path(__file__).parents[2] / "golden" / "resampling"
CASES = json.loads((GOLDEN / "index.json").read_text())
DEFAULT = Resampling()
ISOTROPIC = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
SHAPES = st.tuples(*[st.integers(1, 7)] * 3)


def zoom(array: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    factors = [n_out / n_in for n_in, n_out in zip(array.shape, shape, strict=True)]
    return ndimage.zoom(array.astype(float), factors, order=order, mode="nearest", grid_mode=True)


def label_by_zoom(label: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """The definition, word for word: scores per label by zoom, ties to the nearest, then to the smallest."""
    nearest = zoom(label, shape, 0).astype(label.dtype)
    values = np.unique(label)
    scores = np.stack([np.clip(zoom(label == value, shape, order), 0, 1) for value in values])
    best = scores.max(0)
    winner = values[scores.argmax(0)]
    for value, score in zip(values, scores, strict=True):
        winner = np.where((nearest == value) & (score == best) & (score > 0), value, winner)
    return winner


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_resampling_equals_the_reference(case: dict) -> None:
    golden = np.load(GOLDEN / case["file"])
    grids = (tuple(case["new_shape"]), tuple(case["current_spacing"]), tuple(case["new_spacing"]))
    assert separate_axis(*grids[1:]) == case["axis"]
    cubic = np.stack([resample_channel(channel, *grids, DEFAULT) for channel in golden["data"]])
    linear = np.stack([resample_channel(channel, *grids, Resampling(order_image=1)) for channel in golden["data"]])
    label = resample_label(golden["seg"], *grids, DEFAULT)
    tolerance = 1e-6 * np.ptp(golden["data"])
    np.testing.assert_allclose(cubic, golden["data_order3"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(linear, golden["data_order1"], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(label, golden["seg_out"])
    assert [str(cubic.dtype), str(label.dtype)] == case["dtype_out"]


@pytest.mark.parametrize(
    ("spacing", "new_spacing", "axis"),
    [
        ((3, 1, 1), (1, 1, 1), None),
        ((3.01, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (4, 1, 1), 0),
        ((0.2, 0.8, 1), (1, 1, 1), 2),
        ((0.24, 1.25, 1.25), (1, 1, 1), None),
    ],
)
def test_the_coarse_axis(spacing: tuple, new_spacing: tuple, axis: int | None) -> None:
    assert separate_axis(spacing, new_spacing) == axis
    assert separate_axis(spacing, new_spacing, force=False) is None


def test_a_forced_coarse_axis_needs_no_ratio() -> None:
    assert separate_axis((1.5, 1, 1), (1, 1, 1), force=True) == 0
    assert separate_axis((1, 1, 1), (9, 1, 1), force=True) is None


def test_shapes_round_halves_to_even() -> None:
    assert resampled_shape((5, 7, 9), (1, 1, 1), (2, 2, 2)) == (2, 4, 4)
    assert resampled_shape((13, 42, 38), (5, 0.8, 0.8), (2.75, 0.825, 0.8)) == (24, 41, 38)
    assert resampled_shape((1, 1, 1), (1, 1, 1), (9, 9, 9)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("n_in", "n_out", "indices"),
    [
        (8, 4, [1, 3, 5, 7]),
        (8, 2, [2, 6]),
        (10, 4, [1, 3, 6, 8]),
        (9, 3, [1, 4, 7]),
        (4, 8, [0, 0, 1, 1, 2, 2, 3, 3]),
        (3, 10, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]),
    ],
)
def test_nearest_samples(n_in: int, n_out: int, indices: list[int]) -> None:
    assert nearest_indices(n_in, n_out).tolist() == indices


@given(st.integers(1, 300), st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_nearest_samples_are_scipys(n_in: int, n_out: int) -> None:
    np.testing.assert_array_equal(nearest_indices(n_in, n_out), zoom(np.arange(n_in), (n_out,), 0))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_an_axis_operator_is_the_zoom(n_in: int, n_out: int, order: int, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(size=n_in)
    np.testing.assert_allclose(axis_operator(n_in, n_out, order) @ samples, zoom(samples, (n_out,), order), atol=1e-12)


def test_axis_operators_are_shared_and_cannot_be_changed() -> None:
    assert axis_operator(5, 7, 3) is axis_operator(5, 7, 3)
    with pytest.raises(ValueError, match="read-only"):
        axis_operator(5, 7, 3)[0, 0] = 1


@given(SHAPES, SHAPES, st.sampled_from([0, 1, 3]), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_volumes_are_scipys_zoom_limited_to_the_input_range(shape: tuple, new: tuple, order: int, seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=shape)
    out = resample_channel(volume, new, *ISOTROPIC, Resampling(order_image=order))
    expected = np.clip(zoom(volume, new, order), volume.min(), volume.max())
    np.testing.assert_allclose(out, expected, atol=1e-12)


@given(arrays(np.int16, SHAPES, elements=st.integers(-1, 3)), SHAPES)
@settings(deadline=None, max_examples=200)
def test_linear_label_votes_are_the_references_exactly(label: np.ndarray, shape: tuple) -> None:
    out = resample_label(label[None], shape, *ISOTROPIC, DEFAULT)
    np.testing.assert_array_equal(out[0], label_by_zoom(label, shape, 1))


@given(arrays(np.int16, SHAPES, elements=st.integers(-1, 2)), SHAPES)
@settings(deadline=None)
def test_a_coarse_axis_is_voted_on_slice_by_slice(label: np.ndarray, shape: tuple) -> None:
    out = resample_label(label[None], shape, (9.0, 1.0, 1.0), (9.0, 1.0, 1.0), DEFAULT)
    slices = np.stack([label_by_zoom(plane, shape[1:], 1) for plane in label])
    np.testing.assert_array_equal(out[0], slices[nearest_indices(len(label), shape[0])])


def test_labels_can_be_resized_by_nearest_and_cubic_scores() -> None:
    label = np.random.default_rng(0).integers(-1, 3, (6, 7, 5)).astype(np.int16)
    for order in (0, 3):
        out = resample_label(label[None], (9, 5, 5), *ISOTROPIC, Resampling(order_label=order))
        expected = zoom(label, (9, 5, 5), 0) if order == 0 else label_by_zoom(label, (9, 5, 5), 3)
        np.testing.assert_array_equal(out[0], expected)


@pytest.mark.parametrize(
    ("row", "extent", "expected"),
    [([0, 1, 2, 2], 2, [1, 2]), ([2, 0, 1, 1], 2, [0, 1]), ([0, 1, 2, 3, 3, 1], 3, [1, 3, 1])],
)
def test_ties_go_to_the_nearest_neighbour(row: list[int], extent: int, expected: list[int]) -> None:
    label = np.array(row, np.int16).reshape(1, 1, 1, -1)
    assert resample_label(label, (1, 1, extent), *ISOTROPIC, DEFAULT).ravel().tolist() == expected


def test_an_unchanged_shape_returns_the_same_array() -> None:
    image, label = np.zeros((2, 3, 4), np.float16), np.zeros((1, 2, 3, 4), np.int8)
    assert resample_channel(image, (2, 3, 4), (9, 1, 1), (1, 1, 1), DEFAULT) is image
    assert resample_label(label, (2, 3, 4), (9, 1, 1), (1, 1, 1), DEFAULT) is label


def test_each_slice_is_limited_to_its_own_range_where_the_axis_is_coarse() -> None:
    image = np.zeros((2, 8, 8), np.float32)
    image[0, 4:] = 1
    image[1, 4:] = 100
    out = resample_channel(image, (2, 12, 12), (9, 1, 1), (9, 1, 1), DEFAULT)
    assert out[0].max() == 1
    assert out[1].max() == 100
    assert out.min() == 0


def test_a_coarse_axis_can_be_interpolated() -> None:
    image = np.arange(4, dtype=np.float64).reshape(4, 1, 1)
    linear = Resampling(order_z=1)
    out = resample_channel(image, (2, 1, 1), (9, 1, 1), (18, 1, 1), linear)
    np.testing.assert_allclose(out.ravel(), [0.5, 2.5])  # samples at 0.5 and 2.5
    label = np.array([1, 1, 0, 2], np.int16).reshape(1, 4, 1, 1)
    # At 0.5 label 1 scores 1; at 2.5 labels 0 and 2 score 0.5 each, which rounds to 0 and paints nothing.
    assert resample_label(label, (2, 1, 1), (9, 1, 1), (18, 1, 1), linear).ravel().tolist() == [1, 0]
