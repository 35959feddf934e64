"""Deriving a configuration again."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.planning.overrides import RefitGivens, apply_overrides
from segfw.core.planning.planning import make_plan
from segfw.core.planning.refit import dataset_voxels, refit_batch_size, refit_topology
from segfw.core.settings.schema import PlanOverrides
from segfw.interop.nnunet import read_dataset_json, read_fingerprint
from tests.core.planning.fingerprints import PLANNERS, dataset, fingerprint, fingerprints

GOLDEN = Path(__file__).parents[2] / "golden" / "plans"
BOTH = PlanOverrides(refit=("topology", "batch_size"))


@settings(max_examples=100, deadline=None)
@given(fingerprints(), st.sampled_from(PLANNERS), st.integers(1, 2000), st.sampled_from([None, 2.0, 24.0]))
def test_refitting_what_was_planned_changes_nothing(given_fingerprint, planner, num_training, gpu_memory_gb):
    plan = make_plan(dataset(num_training), given_fingerprint, planner, gpu_memory_gb=gpu_memory_gb)
    for name, configuration in plan.configurations.items():
        same = refit_topology(plan, configuration, configuration.spacing, configuration.patch_size)
        assert same == configuration, name
        assert refit_batch_size(plan, same, num_training, gpu_memory_gb) == configuration, name


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_refitting_a_golden_plan_changes_nothing(case):
    golden = read_dataset_json(GOLDEN / case / "dataset.json")
    plan = make_plan(golden, read_fingerprint(GOLDEN / case / "dataset_fingerprint.json"))
    givens = RefitGivens(golden.num_training)
    assert apply_overrides(plan, BOTH, tuple(plan.configurations), givens) == plan


def test_a_new_spacing_and_patch_give_the_published_topology():
    # the prostate set: 3.6 mm slices wait until the planes have been halved twice
    plan = make_plan(dataset(), fingerprint([((1.0, 1.0, 1.0), (40, 56, 40))]))
    changed = refit_topology(plan, plan.configuration("3d_fullres"), (3.6, 0.625, 0.625), (20, 320, 256))
    assert changed.patch_size == (20, 320, 256)
    flat, cube = (1, 2, 2), (2, 2, 2)
    assert changed.strides == ((1, 1, 1), flat, flat, cube, cube, flat, flat)
    assert changed.kernel_sizes == ((1, 3, 3), (1, 3, 3), *((3, 3, 3),) * 5)
    assert changed.features_per_stage == (32, 64, 128, 256, 320, 320, 320)
    assert (changed.n_conv_per_stage, changed.n_conv_per_stage_decoder) == ((2,) * 7, (2,) * 6)
    assert changed.batch_size == plan.configuration("3d_fullres").batch_size


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_the_batch_of_more_memory_is_the_one_planned_for_it(name):
    images = fingerprint([((1.0, 1.0, 1.0), (36, 50, 35))])
    small, large = (make_plan(dataset(1000), images, "resenc_m", gpu_memory_gb=gb) for gb in (8, 24))
    refitted = refit_batch_size(small, small.configuration(name), 1000, gpu_memory_gb=24)
    assert refitted == large.configuration(name)
    assert refitted.batch_size > small.configuration(name).batch_size


def test_the_dataset_is_counted_at_the_spacing_of_the_configuration():
    plan = make_plan(dataset(), fingerprint([((2.0, 1.0, 1.0), (10, 100, 100))]))
    flat, full = plan.configuration("2d"), plan.configuration("3d_fullres")
    assert dataset_voxels(plan, full, 3) == dataset_voxels(plan, flat, 3) == 3 * 10 * 100 * 100
    # twice the spacing in plane: a quarter of the voxels
    assert dataset_voxels(plan, replace(flat, spacing=(2.0, 2.0)), 3) == 3 * 10 * 50 * 50
    assert dataset_voxels(plan, replace(full, spacing=(2.0, 2.0, 2.0)), 3) == 3 * 10 * 50 * 50
    alone = replace(plan, configurations={"2d": flat})
    assert dataset_voxels(alone, flat, 3) == 3 * 100 * 100


def test_a_low_resolution_of_as_many_voxels_is_not_taken_for_the_full_one():
    # a line of 215 voxels: the coarser grid of the cascade rounds to the same 215 x 1 x 1
    plan = make_plan(dataset(1), fingerprint([((1.0, 0.0546875, 9.0), (1, 1, 215))]))
    assert math.prod(plan.configuration("3d_lowres").median_image_size_in_voxels) == 215
    flat = plan.configuration("2d")
    assert dataset_voxels(plan, flat, 1) == pytest.approx(215)
    assert refit_batch_size(plan, flat, 1) == flat


def test_a_median_of_fractions_keeps_the_network_planned_for_it():
    """7.5 voxels are too few to halve; the patch of 8 that holds them would not be."""
    images = fingerprint([((1.0, 1.0, 1.0), (7, 40, 40)), ((1.0, 1.0, 1.0), (8, 40, 40))])
    plan = make_plan(dataset(), images)
    planned = plan.configuration("3d_fullres")
    assert (planned.patch_size, planned.divisor) == ((8, 40, 40), (1, 8, 8))
    assert refit_topology(plan, planned, planned.spacing, (8, 40, 40)) == planned
    assert refit_topology(plan, planned, planned.spacing, (16, 40, 40)).divisor == (4, 8, 8)


@pytest.mark.parametrize("refit", [(), ("topology",), ("topology", "batch_size")])
def test_the_median_image_keeps_its_extent_at_another_spacing(refit):
    plan = make_plan(dataset(), fingerprint([((2.0, 1.0, 1.0), (16, 96, 96))]))
    overrides = PlanOverrides(spacing=(1.0, 0.5, 2.0), refit=refit)
    changed = apply_overrides(plan, overrides, ("3d_fullres",), RefitGivens(3))
    full = changed.configuration("3d_fullres")
    assert full.median_image_size_in_voxels == (32.0, 192.0, 48.0)
    planned = plan.configuration("3d_fullres")  # and the changed plan counts the dataset like the generated one
    assert dataset_voxels(changed, planned, 3) == pytest.approx(dataset_voxels(plan, planned, 3))
    assert dataset_voxels(changed, full, 3) == 3 * 32 * 192 * 48
