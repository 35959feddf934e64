"""What is told of given values in the place of planned ones."""

from dataclasses import replace

import pytest

from segfw.core.cases.dataset import Dataset
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.planning.changed_reasons import with_changes
from segfw.core.planning.overrides import RefitGivens, apply_overrides
from segfw.core.planning.planning import make_plan
from segfw.core.settings.schema import PlanOverrides

REASONS = {
    "dataset_name": "Here: for 8 GB of GPU memory.",
    "configurations.2d.patch_size": "Here: a square.",
    "configurations.3d_fullres.spacing": "Here: the median.",
    "configurations.3d_fullres.patch_size": "Here: a cube.",
    "configurations.3d_fullres.kernel_sizes": "Here: the deepest stage.",
    "configurations.3d_fullres.batch_dice": "",
    "configurations.3d_fullres.resampling": "Here: 0 of 1 cases.",
}


@pytest.fixture(scope="module")
def plan():
    """Plan a dataset of 40 x 56 x 40 voxels: a patch of that size, a batch of 10."""
    dataset = Dataset("Synthetic", ("MRI",), LabelSet({"background": 0, "organ": 1}), 200)
    statistics = IntensityStatistics(10.0, 9.0, 2.0, 0.0, 20.0, 19.0, 1.0)
    return make_plan(dataset, Fingerprint(((1.0, 1.0, 1.0),), ((40, 56, 40),), (statistics,), 1.0))


def changed(plan, **given):
    overrides = PlanOverrides(**given)
    run = apply_overrides(plan, overrides, ("3d_fullres",), RefitGivens(200))
    found = with_changes(REASONS, plan, run, overrides)
    return {key: text for key, text in found.items() if text != REASONS.get(key)}


def test_a_given_patch_is_not_explained_by_the_rule(plan):
    assert changed(plan, patch_size=(32, 32, 32)) == {
        "configurations.3d_fullres.patch_size": "Given: plan.patch_size=[32, 32, 32], planned [40, 56, 40]; "
        "batch_size as planned.",
        "configurations.3d_fullres.kernel_sizes": "Here: for the planned patch 40 x 56 x 40: the deepest stage.",
    }


def test_what_no_patch_decides_is_told_of_the_planned_spacing(plan):
    found = changed(plan, patch_size=(32, 32, 32), spacing=(2.0, 1.0, 1.0))
    assert found["configurations.3d_fullres.resampling"] == "Here: for the planned spacing 1 x 1 x 1 mm: 0 of 1 cases."
    assert found["configurations.3d_fullres.kernel_sizes"] == (
        "Here: for the planned spacing 1 x 1 x 1 mm and patch 40 x 56 x 40: the deepest stage."
    )


def test_a_batch_and_a_loss_leave_the_other_reasons(plan):
    assert changed(plan, batch_size=4, batch_dice=True) == {
        "configurations.3d_fullres.patch_size": "Given: patch_size as planned; plan.batch_size=4, planned 10.",
        "configurations.3d_fullres.batch_dice": "Given: plan.batch_dice=true, planned false.",
    }


def test_given_channels_alone_say_nothing_of_the_convolutions(plan):
    widths = (8,) * len(plan.configuration("3d_fullres").strides)
    told = changed(plan, features_per_stage=widths)["configurations.3d_fullres.architecture"]
    assert told.startswith("Given: plan.features_per_stage=[8, 8, ")
    assert "n_conv" not in told


def test_what_is_given_as_it_was_planned_keeps_its_reason(plan):
    assert changed(plan, batch_size=10) == {}
    assert changed(plan) == {}


def test_what_is_derived_again_and_padded_is_told(plan):
    """60 voxels are halved four times, to multiples of 16: 64."""
    found = changed(plan, patch_size=(60, 60, 60), refit=("topology",))
    assert found["configurations.3d_fullres.patch_size"] == (
        "Given: plan.patch_size=[60, 60, 60] (taken as [64, 64, 64]), planned [40, 56, 40]; batch_size as planned."
    )
    assert found["configurations.3d_fullres.kernel_sizes"].startswith("Given: strides [[1, 1, 1], [2, 2, 2], ")
    assert " follows from other changes, planned [[1, 1, 1], " in found["configurations.3d_fullres.kernel_sizes"]


def test_a_patch_that_a_network_was_fitted_to_is_no_planned_one(plan):
    smaller = replace(plan.configuration("3d_fullres"), batch_size=7)
    run = replace(plan, configurations={**plan.configurations, "3d_fullres": smaller})
    assert with_changes(REASONS, plan, run, PlanOverrides())["configurations.3d_fullres.patch_size"] == (
        "Given: patch_size as planned; batch_size 7 follows from other changes, planned 10."
    )
