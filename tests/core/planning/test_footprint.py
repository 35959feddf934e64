"""Disk and host memory of a plan, counted by hand on small cases."""

from dataclasses import replace

import pytest

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Fingerprint, IntensityStatistics, Plan
from segfw.core.planning.footprint import (
    CASE_RECORD,
    PREPROCESSING_PROCESS,
    TRAINING_PROCESS,
    WORKER,
    CaseGrid,
    TrainingMachine,
    case_grids,
    checkpoint_bytes,
    once_per_store,
    preprocessing_bytes,
    store_bytes,
    training_bytes,
)

STATISTICS = IntensityStatistics(0.0, 0.0, 1.0, -1.0, 1.0, 1.0, -1.0)
CONFIGURATION = Configuration(
    spacing=(2.0, 1.0, 1.0),
    patch_size=(4, 8, 8),
    batch_size=3,
    median_image_size_in_voxels=(10.0, 10.0, 10.0),
    architecture="unet",
    features_per_stage=(2, 3),
    kernel_sizes=((3, 3, 3),) * 2,
    strides=((1, 1, 1), (2, 2, 2)),
    n_conv_per_stage=(1, 1),
    n_conv_per_stage_decoder=(1,),
    normalization_schemes=("zscore",),
    use_mask_for_norm=(False,),
    batch_dice=False,
)
FLAT = replace(
    CONFIGURATION, spacing=(0.5, 0.5), patch_size=(8, 8), kernel_sizes=((3, 3),) * 2, strides=((1, 1), (2, 2))
)
PLAN = Plan(
    dataset_name="Made",
    planner="default",
    channel_names=("MRI",),
    labels=LabelSet({"background": 0, "a": 1, "b": 2}),
    original_median_spacing_after_transp=(2.0, 1.0, 1.0),
    original_median_shape_after_transp=(10, 10, 10),
    transpose_forward=(2, 0, 1),
    transpose_backward=(1, 2, 0),
    intensities=(STATISTICS,),
    configurations={"2d": FLAT, "3d_fullres": CONFIGURATION},
)
# Two cases, (Z, Y, X); the X axis comes first in the plan.
FINGERPRINT = Fingerprint(
    spacings=((1.0, 1.0, 4.0), (0.5, 0.5, 2.0)),
    shapes_after_crop=((10, 20, 5), (10, 20, 6)),
    intensities=(STATISTICS,),
    median_relative_size_after_cropping=0.5,
)


def test_cases_are_followed_through_cropping_and_resampling():
    # (5, 10, 20) of 4 x 1 x 1 mm: coarse, so in plane first (no change), then 5 slices of 4 mm become 10 of 2 mm.
    # (6, 10, 20) of 2 x 0.5 x 0.5 mm: coarse, in plane (6, 5, 10), and 2 mm stay.
    assert case_grids(FINGERPRINT, PLAN, CONFIGURATION) == (
        CaseGrid(raw=2000, cropped=1000, in_plane=1000, stored=2000),
        CaseGrid(raw=2400, cropped=1200, in_plane=300, stored=300),
    )


def test_slices_keep_their_distance_in_2d():
    # 0.5 mm in plane: (5, 20, 40) and, unchanged, (6, 10, 20)
    assert [grid.stored for grid in case_grids(FINGERPRINT, PLAN, FLAT)] == [4000, 1200]


def test_without_a_coarse_axis_nothing_is_resampled_in_plane_only():
    together = replace(CONFIGURATION, resampling=replace(CONFIGURATION.resampling, force_separate_z=False))
    assert [grid.in_plane for grid in case_grids(FINGERPRINT, PLAN, together)] == [2000, 300]


def test_a_store_is_image_label_and_noted_voxels():
    # 2300 voxels of 4 + 1 bytes; two labels of 2 % each: 40 + 6 voxels noted, 4 bytes each
    assert store_bytes(FINGERPRINT, PLAN, CONFIGURATION) == 2300 * 5 + 2 * (40 + 6) * 4 + 2 * CASE_RECORD


def test_more_channels_and_label_values_take_more():
    wide = replace(
        PLAN, channel_names=("a", "b"), labels=LabelSet({"background": 0, **{f"l{i}": i for i in range(1, 129)}})
    )
    noted = 128 * (40 + 6) * 4
    assert store_bytes(FINGERPRINT, wide, CONFIGURATION) == 2300 * (2 * 4 + 2) + noted + 2 * CASE_RECORD


def test_annotated_voxels_are_noted_beside_an_ignore_label():
    sparse = replace(PLAN, labels=LabelSet({"background": 0, "a": 1, "ignore": 2}))
    # annotated: all 2000 and 300 voxels are fewer than the 10,000 that are drawn
    assert store_bytes(FINGERPRINT, sparse, CONFIGURATION) == 2300 * 5 + (46 + 2300) * 4 + 2 * CASE_RECORD


def test_preprocessing_takes_most_memory_on_the_case_with_most_arrays():
    # held: image and label (4 + 2 bytes) of 2000 raw voxels and a byte of 1000 cropped ones, 2000 resampled voxels of 4
    # bytes, and two volumes of 2000 floats: 13000 + 8000 + 16000. The second: 6 * 2400 + 1200 + 4 * 300 + 8 * 1200.
    assert preprocessing_bytes(FINGERPRINT, PLAN, CONFIGURATION) == PREPROCESSING_PROCESS + 37_000


def test_finding_all_annotated_voxels_can_be_the_peak():
    sparse = replace(PLAN, labels=LabelSet({"background": 0, "a": 1, "ignore": 2}))
    # held 13000 and 8000 as above, and 2 + 26 bytes for each of 2000 stored voxels
    assert preprocessing_bytes(FINGERPRINT, sparse, CONFIGURATION) == PREPROCESSING_PROCESS + 21_000 + 56_000


def test_reading_several_files_can_be_the_peak():
    many = replace(PLAN, channel_names=("a",) * 10)
    cut = replace(FINGERPRINT, median_relative_size_after_cropping=0.01)
    # raw 120,000 voxels: each channel twice, one more float and the label: 120,000 * (80 + 6)
    assert preprocessing_bytes(cut, many, CONFIGURATION) == PREPROCESSING_PROCESS + 120_000 * 86


@pytest.mark.parametrize(("optimizer", "expected"), [("sgd", 100 * 4 * 5), ("adamw", 100 * 4 * 7)])
def test_a_fold_leaves_two_checkpoints_and_the_packaged_weights(optimizer, expected):
    assert checkpoint_bytes(100, optimizer) == expected
    assert checkpoint_bytes(100, optimizer, averaged=True) == expected + 2 * 100 * 4


def test_training_on_a_gpu_takes_processes_and_batches():
    # a batch: 3 patches of 256 voxels, image 4 bytes and label 2: 4608 bytes; 4 + 2 processes hold two each, so does
    # the training itself
    machine = TrainingMachine(on_cpu=False, cuda=False, workers=4)
    assert training_bytes(PLAN, "3d_fullres", 100, "sgd", machine) == TRAINING_PROCESS + 6 * (WORKER + 9216) + 9216


def test_training_on_the_cpu_takes_the_network_too():
    # maps of a patch: 2 * 256 + 3 * 32, decoder (1 + 1) * 2 * 256, heads 3 * 256: 2400 values, 3 patches, 2.7 copies;
    # 100 parameters with gradient and momentum; 4 bytes each
    machine = TrainingMachine(on_cpu=True, cuda=False, workers=0)
    network = 4 * (3 * 2400 * 2.7 + 300)
    assert training_bytes(PLAN, "3d_fullres", 100, "sgd", machine) == pytest.approx(TRAINING_PROCESS + 9216 + network)
    averaged = training_bytes(PLAN, "3d_fullres", 100, "sgd", machine, averaged=True)
    assert averaged == pytest.approx(TRAINING_PROCESS + 9216 + network + 400)


def test_the_first_configuration_of_a_store_owns_it():
    stores = {"2d": "a", "3d_fullres": "b", "3d_cascade_fullres": "b", "mine": "b"}
    assert once_per_store(stores) == {"3d_cascade_fullres": "3d_fullres", "mine": "3d_fullres"}
