"""Preprocessing end to end against the reference, the inverse of the crop, class locations, and errors.

Tolerances: shapes, boxes, label maps and draws exactly: integers, and votes that are added up in the reference's order.
Images to 1e-6 of the value and of the range: cropping copies, normalization does the reference's float32 operations in
its order, but resampling multiplies in float32 what the reference computes in float64 (in float64 it agrees to 1e-12).
"""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.errors import DataError
from segfw.core.imaging import label_resizing, preprocessing
from segfw.core.imaging.preprocessing import CropRecord, class_locations, configuration_spacing, preprocess_case, uncrop
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.types import Volume

GOLDEN = Path(__file__).parents[2] / "golden" / "preprocess_synthetic"
CASES = json.loads((GOLDEN / "index.json").read_text())
SCHEMES = {
    "ZScoreNormalization": "zscore",
    "CTNormalization": "ct",
    "NoNormalization": "nonorm",
    "RescaleTo01Normalization": "rescale_to_0_1",
    "RGBTo01Normalization": "rgb_to_0_1",
}
STATISTICS = IntensityStatistics(
    mean=0.0, median=0.0, std=1.0, min=0.0, max=1.0, percentile_99_5=1.0, percentile_00_5=0.0
)


def as_tuple(values: Any) -> Any:
    return tuple(as_tuple(value) for value in values) if isinstance(values, list) else values


def read_configuration(entry: dict, inherited: dict) -> Configuration:
    entry = {**inherited, **entry}
    arguments = entry["architecture"]["arch_kwargs"]
    return Configuration(
        spacing=as_tuple(entry["spacing"]),
        patch_size=as_tuple(entry["patch_size"]),
        batch_size=entry["batch_size"],
        median_image_size_in_voxels=as_tuple(entry["median_image_size_in_voxels"]),
        architecture="unet",
        features_per_stage=as_tuple(arguments["features_per_stage"]),
        kernel_sizes=as_tuple(arguments["kernel_sizes"]),
        strides=as_tuple(arguments["strides"]),
        n_conv_per_stage=as_tuple(arguments["n_conv_per_stage"]),
        n_conv_per_stage_decoder=as_tuple(arguments["n_conv_per_stage_decoder"]),
        normalization_schemes=tuple(SCHEMES[scheme] for scheme in entry["normalization_schemes"]),
        use_mask_for_norm=as_tuple(entry["use_mask_for_norm"]),
        batch_dice=entry["batch_dice"],
    )


def read_plan(plans: dict, dataset: dict, configuration: str) -> Plan:
    """Build the plan with the one configuration that a case uses."""
    statistics = plans["foreground_intensity_properties_per_channel"]
    order = dataset.get("regions_class_order")
    entries = plans["configurations"]
    entry = entries[configuration]
    return Plan(
        dataset_name=plans["dataset_name"],
        planner="default",
        channel_names=tuple(dataset["channel_names"].values()),
        labels=LabelSet({name: as_tuple(value) for name, value in dataset["labels"].items()}, order and tuple(order)),
        original_median_spacing_after_transp=as_tuple(plans["original_median_spacing_after_transp"]),
        original_median_shape_after_transp=as_tuple(plans["original_median_shape_after_transp"]),
        transpose_forward=as_tuple(plans["transpose_forward"]),
        transpose_backward=as_tuple(plans["transpose_backward"]),
        intensities=tuple(IntensityStatistics(**statistics[str(c)]) for c in range(len(statistics))),
        configurations={configuration: read_configuration(entry, entries.get(entry.get("inherits_from", ""), {}))},
    )


def golden_plan(case: dict) -> Plan:
    plans = GOLDEN.parent / case["plan"]
    dataset = json.loads(plans.with_name("dataset.json").read_text())
    return read_plan(json.loads(plans.read_text()), dataset, case["configuration"])


def simple_plan(labels: LabelSet | None = None, transpose: tuple[int, ...] = (0, 1, 2)) -> Plan:
    configuration = Configuration(
        spacing=(1.0, 1.0, 1.0),
        patch_size=(4, 4, 4),
        batch_size=2,
        median_image_size_in_voxels=(4.0, 4.0, 4.0),
        architecture="unet",
        features_per_stage=(4, 8),
        kernel_sizes=((3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (2, 2, 2)),
        n_conv_per_stage=(2, 2),
        n_conv_per_stage_decoder=(2,),
        normalization_schemes=("nonorm",),
        use_mask_for_norm=(False,),
        batch_dice=False,
    )
    return Plan(
        dataset_name="Simple",
        planner="default",
        channel_names=("MRI",),
        labels=labels or LabelSet({"background": 0, "organ": 1}),
        original_median_spacing_after_transp=(1.0, 1.0, 1.0),
        original_median_shape_after_transp=(4, 4, 4),
        transpose_forward=transpose,
        transpose_backward=tuple(int(axis) for axis in np.argsort(transpose)),
        intensities=(STATISTICS,),
        configurations={"3d_fullres": configuration},
    )


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_preprocessing_equals_the_reference(case: dict) -> None:
    golden, plan = np.load(GOLDEN / case["file"]), golden_plan(case)
    spacing = tuple(case["spacing_in"])
    label = Volume(golden["seg_in"], spacing) if golden["seg_in"].size else None
    found = preprocess_case(Volume(golden["data_in"], spacing), label, plan, plan.configuration(case["configuration"]))
    for channel, expected_channel in zip(found.image, golden["data"], strict=True):
        np.testing.assert_allclose(channel, expected_channel, rtol=1e-6, atol=1e-6 * np.ptp(expected_channel))
    assert found.image.dtype == np.float32
    if label is None:
        assert found.label is None
    else:
        np.testing.assert_array_equal(found.label, golden["seg"])
        assert found.label.dtype == np.int16
    expected, record = case["properties"], found.record
    assert record.spacing == tuple(expected["spacing"])
    assert record.shape_before_cropping == tuple(expected["shape_before_cropping"])
    assert record.box == as_tuple(expected["bbox_used_for_cropping"])
    assert record.shape_after_cropping == tuple(expected["shape_after_cropping_and_before_resampling"])
    assert record.resampled_shape == tuple(case["out_shape"][1:])
    drawn = {str(key[0]) if len(key) == 1 and not plan.labels.has_regions else str(key): len(voxels)
             for key, voxels in found.locations.items()}  # fmt: skip
    assert drawn == case["class_locations_counts"]


def test_the_callers_arrays_stay_as_they_are() -> None:
    image = np.zeros((1, 4, 4, 4), np.float32)
    image[0, 1:3, 1:3, 1] = 2
    label = np.zeros((1, 4, 4, 4), np.int16)
    copies = image.copy(), label.copy()
    plan = simple_plan()
    found = preprocess_case(Volume(image, (1, 1, 1)), Volume(label, (1, 1, 1)), plan, plan.configuration("3d_fullres"))
    found.image[:] = 9
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(label, copies[1])


def test_slices_of_a_2d_configuration_keep_their_distance() -> None:
    case = next(case for case in CASES if case["file"] == "prostate_2d.npz")
    configuration = golden_plan(case).configuration("2d")
    assert configuration_spacing(configuration, (0.7, 0.8, 4.2), (2, 0, 1)) == (4.2, *configuration.spacing)


def reference_locations(label: np.ndarray, keys: tuple) -> dict:
    """The definition: coordinates in C order label by label, and one generator's `choice` for each key in turn."""
    generator = np.random.RandomState(1234)
    drawn = {}
    for key in keys:
        voxels = np.concatenate([np.argwhere(label[0] == value) for value in key])
        if not len(voxels):
            drawn[key] = voxels
            continue
        size = max(min(10000, len(voxels)), int(np.ceil(len(voxels) * 0.01)))
        drawn[key] = voxels[generator.choice(len(voxels), size, replace=False)]
    return drawn


def test_locations_are_the_references_draws() -> None:
    label = np.random.default_rng(3).integers(-1, 4, (1, 30, 31, 32)).astype(np.int16)
    label[label == 3] = 2
    keys = ((1,), (3,), (2,), (2, 1), (-1, 0, 1, 2))
    found = class_locations(label, keys)
    expected = reference_locations(label, keys)
    for key in keys:
        np.testing.assert_array_equal(np.stack(np.unravel_index(found[key], label.shape[1:]), 1), expected[key])
    assert len(found[(3,)]) == 0
    assert len(found[(-1, 0, 1, 2)]) == 10000


def test_a_large_class_gives_one_per_cent() -> None:
    label = np.ones((1, 101, 100, 100), np.int8)
    label[0, 0, 0, 0] = 0
    assert len(class_locations(label, ((1,),))[(1,)]) == 10100  # ceil of 1,009,999 / 100
    assert class_locations(np.zeros((1, 2, 2, 2), np.int8), ((1,),))[(1,)].tolist() == []


@given(st.permutations([0, 1, 2]), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_uncrop_is_the_inverse_of_transpose_and_crop(transpose: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 7, 3))
    image = np.zeros((1, *shape), np.float32)
    start = [generator.integers(0, n) for n in shape]
    stop = [generator.integers(a + 1, n + 1) for a, n in zip(start, shape, strict=True)]
    inside = (0, *(slice(a, b) for a, b in zip(start, stop, strict=True)))
    image[inside] = generator.integers(1, 9, image[inside].shape)
    plan = simple_plan(transpose=tuple(transpose))
    spacing = (1.0, 1.0, 1.0)
    found = preprocess_case(Volume(image, spacing), None, plan, plan.configuration("3d_fullres"))
    np.testing.assert_array_equal(uncrop(found.image[0], found.record, plan), image[0])


def test_uncrop_pads_with_zeros_and_keeps_the_type() -> None:
    record = CropRecord((1.0, 1.0, 1.0), (1, 2, 3), ((0, 1), (1, 2), (0, 2)), (1, 1, 2), (1, 1, 2))
    whole = uncrop(np.array([[[5, 6]]], np.uint8), record, simple_plan(transpose=(2, 0, 1)))
    # Planned axes (X, Z, Y) of extent (1, 2, 3) are Z 2, Y 3, X 1.
    assert whole.shape == (2, 3, 1)
    assert whole.dtype == np.uint8
    assert whole[..., 0].tolist() == [[0, 0, 0], [5, 6, 0]]


def test_a_plan_must_agree_with_itself() -> None:
    plan = simple_plan()
    odd = replace(plan.configuration("3d_fullres"), normalization_schemes=("nonorm", "ct"))
    with pytest.raises(DataError, match="1 channels, but 2 normalization schemes, 1 mask flags and statistics of 1"):
        preprocess_case(Volume(np.ones((1, 4, 4, 4), np.float32), (1, 1, 1)), None, plan, odd)


@pytest.mark.parametrize("scheme", ["ct", "zscore", "rescale_to_0_1"])
@pytest.mark.parametrize("channels", [1, 4])
def test_beside_the_input_about_two_copies_of_a_channel_are_held(
    scheme: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One normalized, half of one after the first product, bytes of labels, and what comes out (0.19 a channel)."""
    image = np.full((channels, 60, 100, 100), -1000, np.float32)
    image[:, 5:-5, 10:-10, 10:-10] = np.random.default_rng(0).normal(40, 25, (channels, 50, 80, 80))
    label = np.zeros((1, 60, 100, 100), np.int16)
    label[0, 20:40, 30:60, 30:60] = 1
    monkeypatch.setattr(label_resizing, "VOXELS_PER_STEP", 2**10)  # 10 MB otherwise, whatever the volume
    plan = simple_plan()
    configuration = replace(
        plan.configuration("3d_fullres"),
        spacing=(1.5, 1.5, 1.5),
        normalization_schemes=(scheme,) * channels,
        use_mask_for_norm=(False,) * channels,
    )
    plan = replace(plan, channel_names=("CT",) * channels, intensities=(STATISTICS,) * channels)
    volumes = Volume(image, (1.0, 0.8, 0.8)), Volume(label, (1.0, 0.8, 0.8))
    tracemalloc.start()
    try:
        preprocess_case(*volumes, plan, configuration)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (2.05 + 0.19 * (channels - 1)) * image[0].nbytes


@pytest.mark.parametrize(
    ("image_shape", "label_shape", "message"),
    [
        ((1, 4, 4, 4), (1, 4, 4, 5), r"differ in shape: \(4, 4, 4\) and \(4, 4, 5\)"),
        ((1, 4, 4, 4), (2, 4, 4, 4), "label map has one channel, got 2"),
        ((3, 4, 4, 4), (1, 4, 4, 4), "image has 3 channels, 1 are declared"),
    ],
)
def test_what_does_not_fit_is_refused(image_shape: tuple, label_shape: tuple, message: str) -> None:
    plan = simple_plan()
    image = Volume(np.ones(image_shape, np.float32), (1, 1, 1))
    label = Volume(np.ones(label_shape, np.int16), (1, 1, 1))
    with pytest.raises(DataError, match=message):
        preprocess_case(image, label, plan, plan.configuration("3d_fullres"))


def test_a_grid_that_memory_has_no_room_for_is_refused_before_it_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 x 5 x 6 voxels of 1 mm at 1e-6 mm: 4e6 x 5e6 x 6e6, of 4 bytes each 4.8e20 bytes; at 0.5 mm 3840 bytes."""
    plan, volume = simple_plan(), Volume(np.ones((1, 4, 5, 6), np.float32), (1, 1, 1))
    planned = plan.configuration("3d_fullres")
    message = (
        r"spacing of 1e-06 x 1e-06 x 1e-06 mm, 4 x 5 x 6 voxels become 4000000 x 5000000 x 6000000, and 1 channels of "
        r"them take 4\.8e\+11 GB of memory, but .* GB are free"
    )
    with pytest.raises(DataError, match=message):
        preprocess_case(volume, None, plan, replace(planned, spacing=(1e-6, 1e-6, 1e-6)))
    half = replace(planned, spacing=(0.5, 0.5, 0.5))
    monkeypatch.setattr(preprocessing, "available_memory", lambda: 3840)
    assert preprocess_case(volume, None, plan, half).image.shape == (1, 8, 10, 12)
    monkeypatch.setattr(preprocessing, "available_memory", lambda: 3839)
    with pytest.raises(DataError, match=r"8 x 10 x 12, and 1 channels of them take 3\.84e-06 GB"):
        preprocess_case(volume, None, plan, half)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_must_be_finite(value: float) -> None:
    plan = simple_plan()
    configuration = plan.configuration("3d_fullres")
    good, bad = np.ones((1, 4, 4, 4), np.float32), np.ones((1, 4, 4, 4), np.float32)
    bad[0, 1, 2, 3:] = value
    with pytest.raises(DataError, match=r"image has 1 voxels that are NaN or infinite, the first at \(0, 1, 2, 3\)"):
        preprocess_case(Volume(bad, (1, 1, 1)), None, plan, configuration)
    with pytest.raises(DataError, match="label map has 1 voxels that are NaN or infinite"):
        preprocess_case(Volume(good, (1, 1, 1)), Volume(bad, (1, 1, 1)), plan, configuration)


def test_labels_must_be_whole() -> None:
    plan = simple_plan()
    image = Volume(np.ones((1, 4, 4, 4), np.float32), (1, 1, 1))
    label = Volume(np.full((1, 4, 4, 4), 1.5), (1, 1, 1))
    with pytest.raises(DataError, match=r"holds integers, got 1\.5"):
        preprocess_case(image, label, plan, plan.configuration("3d_fullres"))
