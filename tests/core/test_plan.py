"""A configuration refuses illegal states in the domain's words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan

GOOD = Configuration(
    spacing=(1.0, 1.0, 1.0),
    patch_size=(16, 16, 8),
    batch_size=2,
    median_image_size_in_voxels=(20.0, 20.0, 9.0),
    architecture="unet",
    features_per_stage=(8, 16),
    kernel_sizes=((3, 3, 3), (3, 3, 3)),
    strides=((1, 1, 1), (2, 2, 1)),
    n_conv_per_stage=(2, 2),
    n_conv_per_stage_decoder=(2,),
    normalization_schemes=("zscore",),
    use_mask_for_norm=(False,),
    batch_dice=False,
)


def test_divisor_is_the_product_of_the_strides():
    assert GOOD.divisor == (2, 2, 1)
    assert not GOOD.is_2d


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": (16, 15, 8)}, r"divisible by the product of the strides \(2, 2, 1\); axis 1 has 15"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"spacing": (1.0, -1.0, 1.0)}, "spacing must be positive"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "spacing must be positive"),
        ({"patch_size": (16, 16)}, "patch_size needs 3 entries"),
        ({"features_per_stage": (8, 16, 32)}, r"features_per_stage needs 2 entries \(2 stages\), got 3"),
        ({"n_conv_per_stage_decoder": ()}, "n_conv_per_stage_decoder needs 1 entries"),
        ({"architecture": "transformer"}, "architecture must be one of"),
        ({"normalization_schemes": ("zscor",)}, "zscor"),
        ({"strides": ((1, 1), (2, 2))}, "strides need 3 entries per stage"),
        ({"strides": ((1, 1, 1), (0, 2, 1))}, "strides must be at least 1"),
        ({"strides": ()}, "strides needs one row for each of one or more stages, got none"),
        ({"kernel_sizes": ((3, 3, 3), (3, 3))}, "kernel_sizes need 3 entries per stage"),
        ({"spacing": (1.0, float("inf"), 1.0)}, "spacing must be positive and finite"),
    ],
)
def test_impossible_values_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        replace(GOOD, **change)


def stages(**previous):
    """Return a plan of two channels and two labels; `previous`: configuration -> the stage before it."""
    statistics = IntensityStatistics(0.0, 0.0, 1.0, -1.0, 1.0, 1.0, -1.0)
    return Plan(
        "Dataset", "default", ("T1", "T2"), LabelSet({"background": 0, "a": 1, "b": 2}), (1.0,) * 3, (20, 20, 9),
        (0, 1, 2), (0, 1, 2), (statistics,) * 2,
        {name: replace(GOOD, previous_stage=stage) for name, stage in previous.items()},
    )  # fmt: skip


def test_a_second_stage_sees_a_channel_per_label():
    plan = stages(first=None, second="first")
    assert [plan.num_inputs(plan.configuration(name)) for name in ("first", "second")] == [2, 4]


@given(st.permutations(["2d", "first", "second", "third"]))
def test_each_stage_is_trained_behind_the_one_before(names):
    plan = stages(third="second", second="first", first=None, **{"2d": None})
    ordered = plan.training_order(names)
    assert sorted(ordered) == sorted(names)
    assert ordered.index("first") < ordered.index("second") < ordered.index("third")
    assert plan.training_order(("third", "2d")) == ("third", "2d")
    assert plan.training_order(("third", "2d", "first")) == ("third", "2d", "first")
