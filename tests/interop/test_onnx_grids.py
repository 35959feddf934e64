"""The graphs around a network do what segfw does, for any sizes."""

import dataclasses

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.imaging.normalization import normalize_channel
from segfw.core.imaging.resampling import resample_channel, resampled_shape
from segfw.core.labels import LabelSet
from segfw.core.plan import IntensityStatistics, Resampling
from segfw.interop.onnx_grids import write_after, write_before
from tests.inference.tiny_model import tiny_configuration

SCHEMES = ("zscore", "ct", "nonorm", "rescale_to_0_1", "rgb_to_0_1")
STATISTICS = IntensityStatistics(
    mean=20.0, median=15.0, std=30.0, min=-5.0, max=300.0, percentile_99_5=90, percentile_00_5=2
)
SHAPES = st.tuples(*[st.integers(1, 24)] * 3)
ONE = (1.0, 1.0, 1.0)


def run(folder, write, *arguments):
    write(folder / "graph.onnx", *arguments, onnx)
    return onnxruntime.InferenceSession(folder / "graph.onnx").run


@pytest.fixture(scope="module", params=[1, 3])
def prepared(request, tmp_path_factory):
    configuration = dataclasses.replace(
        tiny_configuration(3), normalization_schemes=SCHEMES, use_mask_for_norm=(False,) * 5,
        resampling=Resampling(order_image=request.param),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("before")
    return configuration, run(folder, write_before, configuration, [STATISTICS] * len(SCHEMES))


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 1.5])] * 3), st.integers(0, 2**32 - 1))
def test_images_are_normalized_resampled_and_padded_as_by_segfw(prepared, shape, spacing, seed):
    configuration, before = prepared
    image = np.random.default_rng(seed).uniform(0, 255, (len(SCHEMES), *shape)).astype(np.float32)
    windowed, new = before(None, {"image": image, "spacing": np.array(spacing)})
    assert tuple(new) == resampled_shape(shape, spacing, configuration.spacing)
    assert windowed.shape[1:] == tuple(max(n, 8) for n in new)
    fronts = [(n - m) // 2 for n, m in zip(windowed.shape[1:], new, strict=True)]
    inner = tuple(slice(front, front + n) for front, n in zip(fronts, new, strict=True))
    for channel, scheme in enumerate(SCHEMES):
        scaled = normalize_channel(image[channel], None, scheme, STATISTICS)
        expected = resample_channel(scaled, tuple(new), ONE, ONE, configuration.resampling)
        np.testing.assert_allclose(windowed[channel][inner], expected, rtol=1e-5, atol=1e-4)
    windowed[:, *inner] = 0
    assert not windowed.any()


def test_a_constant_image_becomes_zeros(prepared):
    windowed, _ = prepared[1](None, {"image": np.full((5, 8, 8, 8), 7, np.float32), "spacing": np.array((1, 1.5, 1))})
    assert windowed[[0, 3]].any() == False  # noqa: E712
    np.testing.assert_allclose(windowed[1], (7 - 20) / 30, rtol=1e-6)


def test_labels_are_the_first_largest_head_of_what_the_padding_leaves(tmp_path):
    after = run(tmp_path, write_after, tiny_configuration(3), LabelSet({"background": 0, "a": 1, "b": 2}))
    logits = np.zeros((3, 1, 8, 1), np.float32)
    logits[:, 0, 2:5, 0] = [[0, 0, 1], [1, 0, 5], [1, 0, 2]]  # the inner three of eight, two of the padding in front
    (labels,) = after(None, {"logits": logits, "shape": np.array([1, 3, 1]), "size": np.array([1, 3, 1])})
    assert (labels.dtype, labels.ravel().tolist()) == (np.uint8, [1, 0, 1])


def test_regions_are_painted_in_their_order(tmp_path):
    regions = LabelSet({"background": 0, "whole": (1, 2), "core": (2,)}, (1, 2))
    after = run(tmp_path, write_after, tiny_configuration(3), regions)
    logits = np.array([[-1, 1, 1, -1, 0], [-1, -1, 1, 1, 0]], np.float32).reshape(2, 1, 1, 5)
    (labels,) = after(None, {"logits": logits, "shape": np.array([1, 1, 5]), "size": np.array([1, 1, 5])})
    assert labels.ravel().tolist() == [0, 1, 2, 2, 0]


def test_logits_are_resampled_before_they_are_compared(tmp_path):
    after = run(tmp_path, write_after, tiny_configuration(3), LabelSet({"background": 0, "a": 1}))
    logits = np.array([[0, 0], [-3, 1]], np.float32).reshape(2, 1, 1, 2)
    (labels,) = after(None, {"logits": logits, "shape": np.array([1, 1, 2]), "size": np.array([1, 1, 8])})
    # linear between -3 at 1.5 and 1 at 5.5: 0 at 4.5, so that the sixth voxel is the first above it
    assert labels.ravel().tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
