"""Slab by slab equals the naive way, in the image's own geometry."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segfw.core.errors import JobError, UsageError
from segfw.core.imaging.preprocessing import CropRecord
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan, Resampling
from segfw.inference import restoring_planes
from segfw.inference.restoring import (
    LogitMap,
    restore_ensemble,
    restore_ensemble_probabilities,
    restore_probabilities,
    restore_segmentation,
    segment_for_next_stage,
    stream_probabilities,
)
from segfw.inference.restoring_planes import Place

GOLDEN = Path(__file__).parents[1] / "golden" / "resampling"
LABELS = LabelSet({"background": 0, "a": 1, "b": 2})
REGIONS = LabelSet({"background": 0, "whole": (1, 2, 3), "core": (2, 3), "tip": (3,)}, regions_class_order=(1, 2, 3))


def make_configuration(spacing=(1.0, 1.0, 1.0), resampling=None):
    ones = (1,) * len(spacing)
    return Configuration(
        spacing=spacing, patch_size=(4,) * len(spacing), batch_size=2,
        median_image_size_in_voxels=(8.0,) * len(spacing),
        architecture="unet", features_per_stage=(4,), kernel_sizes=((3,) * len(ones),), strides=(ones,),
        n_conv_per_stage=(1,),
        n_conv_per_stage_decoder=(), normalization_schemes=("nonorm",), use_mask_for_norm=(False,), batch_dice=True,
        resampling=resampling or Resampling(),
    )  # fmt: skip


def make_plan(configuration, labels=LABELS, transpose=(0, 1, 2)):
    backward = tuple(int(i) for i in np.argsort(transpose))
    return Plan("d", "default", ("MRI",), labels, (1.0,) * 3, (8,) * 3, transpose, backward,
                (IntensityStatistics(0, 0, 1, 0, 1, 1, 0),), {"c": configuration})  # fmt: skip


def make_record(shape, spacing=(1.0, 1.0, 1.0), margin=((0, 0),) * 3, resampled=(1, 1, 1)):
    before = tuple(n + a + b for n, (a, b) in zip(shape, margin, strict=True))
    box = tuple((a, a + n) for n, (a, _) in zip(shape, margin, strict=True))
    return CropRecord(spacing, before, box, tuple(shape), tuple(resampled))


def random_logits(shape, heads=3, seed=0):
    return np.random.default_rng(seed).normal(size=(heads, *shape)).astype(np.float16)


def zoomed(volume, shape):
    """Resize in float64 as the specification words it: scipy's zoom, order 1, edge continued, limited to the input's
    range.
    """
    volume = volume.astype(np.float64)
    factors = [n_out / n_in for n_in, n_out in zip(volume.shape, shape, strict=True)]
    return np.clip(ndimage.zoom(volume, factors, order=1, mode="nearest", grid_mode=True), volume.min(), volume.max())


def agree_up_to_ties(segmentation, logits):
    """Equal to the arg-max of `logits` wherever the best two are more than rounding apart; True if so everywhere."""
    best, second = np.sort(logits, axis=0)[::-1][:2]
    clear = best - second > 1e-4
    return clear.mean() > 0.99 and (segmentation == logits.argmax(0))[clear].all()


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.integers(1, 4),
    st.sampled_from([1, 400, 10**9]),
    st.sampled_from([1, 3, None]),
)
def test_segmentation_equals_resampling_everything(source, target, heads, budget, at_once):
    logits = random_logits(source, heads)
    record, configuration = make_record(target), make_configuration()
    labels = LabelSet({"background": 0, **{f"l{i}": i for i in range(1, heads)}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoring_planes, "MIN_BAND_ROWS", 1)
        place = Place(band_bytes=budget, heads_at_once=at_once)
        segmentation = restore_segmentation(logits, record, make_plan(configuration, labels), configuration, place)
    full = np.stack([zoomed(channel, target) for channel in logits])
    best, second = (np.sort(full, axis=0)[::-1][:2]) if heads > 1 else (full[0] + 1, full[0])
    clear = best - second > 1e-4
    assert (segmentation == full.argmax(0))[clear].all()
    probabilities = restore_probabilities(
        torch.from_numpy(logits), record, make_plan(configuration, labels), configuration
    )
    exponentials = np.exp(full - full.max(0))
    np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(0), atol=1e-5)


@pytest.mark.parametrize("entry", json.loads((GOLDEN / "index.json").read_text()), ids=lambda entry: str(entry["file"]))
def test_probability_resampling_equals_the_reference(entry):
    """The reference's order-1 output of its own data, anisotropic cases included, as logits of two heads."""
    case = np.load(GOLDEN / entry["file"])
    data, expected = case["data"], case["data_order1"]
    opposite = np.concatenate([data[:1], -data[:1]])
    record = make_record(expected.shape[1:], tuple(entry["new_spacing"]))
    configuration = make_configuration(tuple(entry["current_spacing"]))
    labels = LabelSet({"background": 0, "a": 1})
    segmentation = restore_segmentation(opposite, record, make_plan(configuration, labels), configuration)
    scale = np.abs(expected[0]).max()
    clear = np.abs(expected[0]) > 1e-5 * scale
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(segmentation[clear], (expected[0] < 0)[clear])
    probability = restore_probabilities(opposite / scale, record, make_plan(configuration, labels), configuration)[0]
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-2.0 * expected[0] / scale)), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.permutations([0, 1, 2]))
def test_the_next_stage_gets_the_logits_on_its_own_grid(source, target, transpose):
    """All in the planned order of axes, the crop left as it is, whatever the raw image."""
    logits, configuration = random_logits(source), make_configuration((2.0, 2.0, 2.0))
    record = make_record((7, 8, 9), (9.0, 0.5, 0.5), margin=((1, 2), (0, 0), (3, 0)))
    plan = make_plan(configuration, transpose=tuple(transpose))
    segmentation = segment_for_next_stage(logits, record, plan, configuration, target)
    assert segmentation.shape == target
    assert segmentation.dtype == np.uint8
    full = np.stack([zoomed(channel, target) for channel in logits])
    best, second = np.sort(full, axis=0)[::-1][:2]
    clear = best - second > 1e-4
    assert (segmentation == full.argmax(0))[clear].all()


def test_the_next_stage_separates_axes_by_this_stages_spacing_alone():
    """Spacing 5 x 1 x 1: 8 planes to 4 by the nearest, 1, 3, 5, 7, although the raw image's axes are alike."""
    logits = np.zeros((2, 8, 2, 2), np.float32)
    logits[1, [1, 5]] = 1
    configuration = make_configuration((5.0, 1.0, 1.0))
    record = make_record((4, 2, 2), (1.0, 1.0, 1.0))
    segmentation = segment_for_next_stage(logits, record, make_plan(configuration), configuration, (4, 2, 2))
    np.testing.assert_array_equal(segmentation[:, 0, 0], [1, 0, 1, 0])


def test_coarse_axis_takes_the_nearest_plane():
    """Along the coarse axis 8 planes become 4: sources 1, 3, 5, 7 (halves go up), worked out by hand."""
    logits = np.zeros((2, 8, 2, 2), np.float32)
    logits[1, [1, 5]] = 1
    configuration = make_configuration((5.0, 1.0, 1.0))
    segmentation = restore_segmentation(
        logits, make_record((4, 2, 2), (10.0, 1.0, 1.0)), make_plan(configuration), configuration
    )
    np.testing.assert_array_equal(segmentation[:, 0, 0], [1, 0, 1, 0])


def test_2d_configuration_keeps_its_slices():
    """Spacing (0.5, .. ) of the slices' own is no target: axis 0 is identity, and thin slices do not change the rule
    in plane.
    """
    logits = random_logits((5, 4, 6))
    configuration = make_configuration((2.0, 2.0))
    segmentation = restore_segmentation(
        logits, make_record((5, 8, 9), (9.0, 1.0, 1.0)), make_plan(configuration), configuration
    )
    full = np.stack([[zoomed(plane, (8, 9)) for plane in channel] for channel in logits])
    assert agree_up_to_ties(segmentation, full)


def test_same_shape_is_plain_arg_max_with_the_first_of_equals():
    logits = np.zeros((3, 1, 1, 4), np.float16)
    logits[:, 0, 0] = [[0, 1, 2, 0], [0, 1, 2, 3], [0, 2, 1, 3]]
    configuration = make_configuration()
    segmentation = restore_segmentation(logits, make_record((1, 1, 4)), make_plan(configuration), configuration)
    np.testing.assert_array_equal(segmentation[0, 0], [0, 2, 0, 1])


def test_crop_and_axis_order_are_undone():
    """Planned axes are (X, Z, Y): transpose (2, 0, 1). One foreground voxel at planned (1, 0, 2), crop begins at (2,
    3, 0).
    """
    logits = np.zeros((3, 2, 3, 4), np.float16)
    logits[2, 1, 0, 2] = 1
    configuration = make_configuration()
    record = make_record((2, 3, 4), margin=((2, 1), (3, 0), (0, 2)))
    plan = make_plan(configuration, transpose=(2, 0, 1))
    segmentation = restore_segmentation(logits, record, plan, configuration)
    assert segmentation.shape == (6, 6, 5)
    assert segmentation.dtype == np.uint8
    assert segmentation.flags["C_CONTIGUOUS"]
    assert np.argwhere(segmentation).tolist() == [[3, 2, 3]]
    assert segmentation[3, 2, 3] == 2
    probabilities = restore_probabilities(logits, record, plan, configuration)
    assert probabilities.dtype == np.float32
    assert probabilities[:, 0, 0, 0].tolist() == [1, 0, 0]
    assert probabilities[2, 3, 2, 3] == pytest.approx(np.e / (np.e + 2))
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-6)


def test_regions_are_painted_in_order():
    """Probabilities (.9, .7, .2) paint 1 then 2; (.3, .8, .1) paints 2 although the whole is below the threshold."""
    wanted = np.array([[0.9, 0.3, 0.1], [0.7, 0.8, 0.2], [0.2, 0.1, 0.9]])
    logits = np.log(wanted / (1 - wanted)).reshape(3, 1, 1, 3)
    configuration = make_configuration()
    plan, record = make_plan(configuration, REGIONS), make_record((1, 1, 3), margin=((0, 0), (1, 0), (0, 0)))
    segmentation = restore_segmentation(logits, record, plan, configuration)
    np.testing.assert_array_equal(segmentation, [[[0, 0, 0], [2, 2, 3]]])
    probabilities = restore_probabilities(logits, record, plan, configuration)
    np.testing.assert_allclose(probabilities[:, 0, 1], wanted, rtol=1e-6)
    assert not probabilities[:, 0, 0].any()


def test_configurations_are_averaged_as_probabilities():
    """Two heads with logits (0, ln 3) and (0, -ln 9): probabilities of the second .75 and .1, mean .425."""
    first, second = np.zeros((2, 1, 1, 1)), np.zeros((2, 1, 2, 1))
    first[1], second[1] = np.log(3), -np.log(9)
    configuration = make_configuration()
    plan = make_plan(configuration, LabelSet({"background": 0, "a": 1}))
    maps = [LogitMap(torch.from_numpy(logits), make_record((1, 2, 1)), configuration) for logits in (first, second)]
    np.testing.assert_allclose(restore_ensemble_probabilities(maps, plan)[1], 0.425, rtol=1e-6)
    assert restore_segmentation(first, maps[0].record, plan, configuration).all()
    assert not restore_ensemble(maps, plan).any()


def test_many_labels():
    labels = LabelSet({"background": 0, **{f"l{i}": i for i in range(1, 300)}})
    logits = np.zeros((300, 1, 2, 2), np.float16)
    logits[299, 0, 0, 0], logits[255, 0, 1, 1], logits[256, 0, 1, 0] = 1, 1, 1
    configuration = make_configuration()
    segmentation = restore_segmentation(logits, make_record((1, 2, 2)), make_plan(configuration, labels), configuration)
    assert segmentation.dtype == np.uint16
    assert segmentation.tolist() == [[[299, 0], [256, 255]]]


def test_cubic_probabilities_are_refused():
    configuration = make_configuration(resampling=Resampling(order_probabilities=3))
    with pytest.raises(UsageError, match="order 0 or 1, got 3"):
        restore_segmentation(random_logits((2, 2, 2)), make_record((3, 3, 3)), make_plan(configuration), configuration)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(1, 6)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3),
    st.permutations([0, 1, 2]),
    st.sampled_from([LABELS, REGIONS]),
    st.integers(1, 2),
    st.sampled_from([1, 3000]),
)
def test_streamed_probabilities_are_those_in_memory(
    tmp_path_factory, source, target, margin, transpose, labels, count, budget
):
    """Whatever the crop, the order of axes, the number of configurations and the height of the bands."""
    record, configuration = make_record(target, margin=margin), make_configuration()
    plan = make_plan(configuration, labels, tuple(transpose))
    maps = [LogitMap(torch.from_numpy(random_logits(source, 3, i)), record, configuration) for i in range(count)]
    path = tmp_path_factory.mktemp("streamed") / "case_probabilities.npy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoring_planes, "MIN_BAND_ROWS", 1)
        stream_probabilities(maps, plan, path, Place(band_bytes=budget))
    streamed, expected = np.load(path, mmap_mode="r"), restore_ensemble_probabilities(maps, plan)
    assert streamed.dtype == np.float16
    assert streamed.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(streamed, expected.astype(np.float16), atol=5e-4)  # half a step of float16 below 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    configuration = make_configuration()
    maps = [LogitMap(torch.from_numpy(random_logits((2, 2, 2))), make_record((4, 5, 6)), configuration)]
    with pytest.raises(JobError, match=r"case\.npy: no room for probabilities of \(3, 4, 5, 6\).*No space left"):
        stream_probabilities(maps, make_plan(configuration), tmp_path / "case.npy")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_stream_leaves_no_file(tmp_path):
    configuration = make_configuration(resampling=Resampling(order_probabilities=3))
    maps = [LogitMap(torch.from_numpy(random_logits((2, 2, 2))), make_record((4, 5, 6)), configuration)]
    with pytest.raises(UsageError, match="order 0 or 1, got 3"):
        stream_probabilities(maps, make_plan(configuration), tmp_path / "case.npy")
    assert not list(tmp_path.iterdir())


def test_regions_are_decoded_as_labels_say():
    probabilities = np.random.default_rng(0).random((3, 4, 5), np.float32)
    configuration, record = make_configuration(), make_record((4, 5, 1))
    logits = np.log(probabilities / (1 - probabilities))[..., None]
    segmentation = restore_segmentation(logits, record, make_plan(configuration, REGIONS), configuration)
    np.testing.assert_array_equal(segmentation[..., 0], REGIONS.decode(probabilities))
