"""Values in the place of planned ones."""

import pytest

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.planning.overrides import RefitGivens, apply_overrides, describe_overrides
from segfw.core.planning.planners import estimated_gpu_memory_gb
from segfw.core.planning.planning import make_plan
from segfw.core.settings.schema import PlanOverrides

GIVENS = RefitGivens(num_training=200)


@pytest.fixture(scope="module")
def plan():
    """Plan a dataset of 40 x 56 x 40 voxels: 4 stages in 2D and in 3D."""
    dataset = Dataset("Synthetic", ("MRI",), LabelSet({"background": 0, "organ": 1}), 200)
    statistics = IntensityStatistics(10.0, 9.0, 2.0, 0.0, 20.0, 19.0, 1.0)
    return make_plan(dataset, Fingerprint(((1.0, 1.0, 1.0),), ((40, 56, 40),), (statistics,), 1.0))


def test_given_fields_change_in_named_configurations_only(plan):
    overrides = PlanOverrides(patch_size=(24, 24, 24), features_per_stage=(4, 8, 16, 32), batch_dice=True)
    changed = apply_overrides(plan, overrides, ("3d_fullres",), GIVENS)
    old, new = plan.configuration("3d_fullres"), changed.configuration("3d_fullres")
    assert (new.patch_size, new.features_per_stage, new.batch_dice) == ((24, 24, 24), (4, 8, 16, 32), True)
    assert (new.strides, new.batch_size, new.spacing) == (old.strides, old.batch_size, old.spacing)
    assert changed.configuration("2d") == plan.configuration("2d")


def test_nothing_given_changes_nothing(plan):
    assert apply_overrides(plan, PlanOverrides(), ("2d", "3d_fullres"), GIVENS) == plan


def test_values_without_axes_fit_2d_and_3d_together(plan):
    changed = apply_overrides(plan, PlanOverrides(batch_size=4), ("2d", "3d_fullres"), GIVENS)
    assert {c.batch_size for c in changed.configurations.values()} == {4}


def test_new_strides_with_everything_they_need(plan):
    overrides = PlanOverrides(
        strides=((1, 1, 1), (2, 2, 2)),
        kernel_sizes=((3, 3, 3), (3, 3, 3)),
        features_per_stage=(8, 16),
        n_conv_per_stage=(1, 1),
        n_conv_per_stage_decoder=(1,),
    )
    assert apply_overrides(plan, overrides, ("3d_fullres",), GIVENS).configuration("3d_fullres").divisor == (2, 2, 2)


@pytest.mark.parametrize(
    ("given", "configurations", "message"),
    [
        ({"patch_size": (24, 24, 24)}, ("2d", "3d_fullres"), r"got 3 values.*choose configurations=\[3d_fullres\]"),
        ({"spacing": (1.0, 1.0)}, ("2d", "3d_fullres"), r"got 2 values.*choose configurations=\[2d\]"),
        ({"patch_size": (24, 24)}, ("3d_fullres",), r"has 3 axes, got 2 values: .*; choose configurations=\[2d\]$"),
        ({"patch_size": (24,) * 3}, ("2d",), r"2d has 2 axes, got 3 values: .*; choose configurations=\[3d_fullres\]$"),
        ({"patch_size": (24,) * 4}, ("2d",), r"2d has 2 axes, got 4 values: \[24, 24, 24, 24\]$"),
        ({"strides": ((1, 1), (2, 2))}, ("3d_fullres",), r"3d_fullres has 3 axes.*; choose configurations=\[2d\]$"),
        ({"features_per_stage": (4, 8)}, ("3d_fullres",), r"3d_fullres has 4 stages, got 2 values: \[4, 8\]"),
        ({"features_per_stage": (4, 8, 16, 32, 64)}, ("2d",), "2d has 4 stages, got 5 values"),
        ({"n_conv_per_stage_decoder": (2,) * 4}, ("2d",), "2d has 3 decoder stages, got 4 values"),
        ({"strides": ((1, 1), (2, 2))}, ("2d",), "has 2 stages, got 4 values .because plan.strides"),
        (
            {"patch_size": (20, 24, 24)},
            ("3d_fullres",),
            r"3d_fullres: plan.patch_size .*divisible .* axis 0 has 20; plan.refit=\[topology\] derives strides",
        ),
        (
            {"patch_size": (1, 1, 1), "refit": ("topology",)},
            ("3d_fullres",),
            r"the patch must be larger \(images of a single voxel",
        ),
        ({"patch_size": (8, 8, 8)}, ("3d_fullres",), r"\(8, 8, 8\) leaves a single voxel to the last stage"),
        (
            {"batch_size": 4, "refit": ("batch_size",)},
            ("3d_fullres",),
            r"plan.batch_size=4 and plan.refit=\[batch_size\] contradict one another",
        ),
        (
            {"strides": ((1, 1), (2, 2)), "refit": ("topology",)},
            ("2d",),
            r"plan.strides=.* and plan.refit=\[topology\] contradict one another",
        ),
        (
            {"patch_size": (16, 16, 16), "features_per_stage": (4, 8, 16, 32), "refit": ("topology",)},
            ("3d_fullres",),
            r"3d_fullres has 3 stages, got 4 values .because plan.refit=\[topology\] changes their number.",
        ),
        ({"patch_size": (24, 24, 24), "refit": ("topology",)}, ("2d", "3d_fullres"), r"choose configurations="),
        (
            {"features_per_stage": (4, 8, 0, 32)},
            ("2d",),
            r"features_per_stage must be between 1 and .* got \(4, 8, 0, 32\)",
        ),
        ({"kernel_sizes": ((3, 3), (3, 3), (3, 3), (3, 2))}, ("2d",), "kernel_sizes must be odd"),
        ({"normalization_schemes": ("ct", "ct")}, ("2d",), "one entry for each of 1 channels"),
        ({"normalization_schemes": ("cat",)}, ("2d",), r"got \['cat'\]"),
        ({"batch_size": 2}, ("3d_full",), "the plan has no configuration '3d_full'"),
    ],
)
def test_values_that_do_not_fit_are_refused(plan, given, configurations, message):
    with pytest.raises(UsageError, match=message):
        apply_overrides(plan, PlanOverrides(**given), configurations, GIVENS)


def test_refit_topology_pads_the_patch_and_lays_other_values_over(plan):
    # 60 -> 30 -> 15 -> 8 -> 4: four halvings, so multiples of 16
    overrides = PlanOverrides(patch_size=(60, 60, 60), features_per_stage=(4, 8, 16, 32, 32), refit=("topology",))
    changed = apply_overrides(plan, overrides, ("3d_fullres",), GIVENS).configuration("3d_fullres")
    assert changed.patch_size == (64, 64, 64)
    assert changed.strides == ((1, 1, 1), *((2, 2, 2),) * 4)
    assert changed.features_per_stage == (4, 8, 16, 32, 32)
    assert changed.batch_size == plan.configuration("3d_fullres").batch_size


def test_what_overrides_cost_is_told(plan):
    # batch 4 instead of 10 of the same patches: four tenths of the memory
    overrides = PlanOverrides(batch_size=4)
    changed = apply_overrides(plan, overrides, ("3d_fullres",), GIVENS)
    assert plan.configuration("3d_fullres").batch_size == 10
    before = estimated_gpu_memory_gb(plan, "3d_fullres")
    assert describe_overrides(plan, changed, overrides, ("3d_fullres",)) == [
        f"plan.batch_size: 3d_fullres now needs about {before * 4 / 10 * 1e3:.0f} MB of GPU memory "
        f"(planned: {before:.2f} GB)"
    ]
    same = PlanOverrides(batch_dice=True)
    assert describe_overrides(plan, apply_overrides(plan, same, ("2d",), GIVENS), same, ("2d",)) == []


def test_what_was_refit_is_told(plan):
    overrides = PlanOverrides(patch_size=(60, 60, 60), refit=("topology", "batch_size"))
    changed = apply_overrides(plan, overrides, ("3d_fullres",), GIVENS)
    lines = describe_overrides(plan, changed, overrides, ("3d_fullres",))
    padded = "64 x 64 x 64, 60 x 60 x 60 padded to multiples of 16 x 16 x 16"
    assert lines[0] == f"plan.patch_size: 3d_fullres takes {padded}"
    # 5 % of 200 * 40 * 56 * 40 voxels make 3.4 patches of 64 ** 3
    assert lines[1] == (
        "plan.refit: 3d_fullres has 5 stages (planned: 4), strides' product 16 x 16 x 16 (8 x 8 x 8), batch 3 (10)"
    )
    assert lines[2].startswith("plan.patch_size: 3d_fullres now needs about ")
