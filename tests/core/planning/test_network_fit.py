"""What gives way where a network needs more memory than the planner has."""

import math
from dataclasses import replace

import pytest

from segfw.core.cases.dataset import Dataset
from segfw.core.labels import LabelSet
from segfw.core.plan import ARCHITECTURES, Fingerprint, IntensityStatistics
from segfw.core.planning.network_fit import as_built, fit_to_network, plan_as_built
from segfw.core.planning.overrides import RefitGivens, apply_overrides
from segfw.core.planning.planners import estimated_gpu_memory_gb
from segfw.core.planning.planning import make_plan
from segfw.core.settings.schema import NetworkSettings, PlanOverrides

BOTH = ("2d", "3d_fullres")
NOTHING = PlanOverrides()
GIVENS = RefitGivens(num_training=200)


def plan_of(shape, planner="default", **givens):
    dataset = Dataset("Synthetic", ("MRI",), LabelSet({"background": 0, "organ": 1}), 200)
    statistics = IntensityStatistics(10.0, 9.0, 2.0, 0.0, 20.0, 19.0, 1.0)
    fingerprint = Fingerprint(((1.0, 1.0, 1.0),), (shape,), (statistics,), 1.0)
    return make_plan(dataset, fingerprint, planner=planner, **givens)


@pytest.fixture(scope="module")
def large():
    return plan_of((200, 300, 300))


@pytest.mark.parametrize("planner", ["default", "resenc_m"])
def test_the_planners_own_network_keeps_its_plan(planner):
    plan = plan_of((200, 300, 300), planner)
    for network in (NetworkSettings(), NetworkSettings(plan.configuration("2d").architecture)):
        fitted = fit_to_network(plan, network, NOTHING, BOTH, GIVENS)
        assert (fitted.plan, fitted.messages) == (plan, ())


def test_a_smaller_batch_where_the_patch_still_fits():
    # reference 560e6 * 1.5 / 8 for batch 2, and 19.1e6 a patch: 11 patches, of which 5 % of the data are 10;
    # V-Net takes 8 to 9.5 maps where the U-Net has 5, so that 6.6 fit
    small = plan_of((40, 56, 40), gpu_memory_gb=1.5)
    fitted = fit_to_network(small, NetworkSettings("vnet"), NOTHING, ("3d_fullres",), RefitGivens(200, 1.5))
    old = small.configuration("3d_fullres")
    assert old.batch_size == 10
    assert fitted.plan.configuration("3d_fullres") == replace(old, batch_size=7)
    assert fitted.messages == (
        "network=vnet: 3d_fullres takes batch 7 instead of 10 on patches of 40 x 56 x 40: that would need "
        "about 2.3 GB, and the plan is made for 1.5 GB",
    )


@pytest.mark.parametrize("network", ["vnet", "unet_plus_plus", "bayesian_unet", "residual_unet"])
def test_the_patch_gives_way_where_the_smallest_batch_does_not_fit(large, network):
    fitted = fit_to_network(large, NetworkSettings(network), NOTHING, BOTH, GIVENS)
    built = plan_as_built(fitted.plan, NetworkSettings(network))
    old, new = large.configuration("3d_fullres"), fitted.plan.configuration("3d_fullres")
    assert new.batch_size == 2
    assert new.architecture == "unet"
    assert all(a <= b for a, b in zip(new.patch_size, old.patch_size, strict=True))
    assert new.patch_size != old.patch_size
    before = plan_as_built(large, NetworkSettings(network))
    for name in BOTH:  # a batch is rounded, so that a quarter more may be taken
        assert estimated_gpu_memory_gb(built, name) < 1.25 * 8
    assert estimated_gpu_memory_gb(before, "3d_fullres") > 8.5


def test_fits_the_memory_that_was_planned_for(large):
    more = plan_of((200, 300, 300), gpu_memory_gb=24)
    network = NetworkSettings("unet_plus_plus")
    fitted = fit_to_network(more, network, NOTHING, BOTH, RefitGivens(200, 24))
    less = fit_to_network(large, network, NOTHING, BOTH, GIVENS)
    sizes = [result.plan.configuration("3d_fullres").patch_size for result in (fitted, less)]
    assert sizes[0] > sizes[1]
    resenc = plan_of((200, 300, 300), "resenc_l")  # made for 24 GB without being told
    assert "made for 24 GB" in fit_to_network(resenc, network, NOTHING, BOTH, GIVENS).messages[-1]


def test_what_was_given_stays_and_is_told_about(large):
    given = PlanOverrides(patch_size=(128, 128, 128), batch_size=4)
    plan = apply_overrides(large, given, ("3d_fullres",), GIVENS)
    fitted = fit_to_network(plan, NetworkSettings("unet_plus_plus"), given, ("3d_fullres",), GIVENS)
    assert fitted.plan == plan
    assert "unet_plus_plus: 3d_fullres with patch 128 x 128 x 128 and batch 4 needs about" in fitted.messages[0]


def test_own_lists_are_cut_with_the_stages(large):
    stages = len(large.configuration("3d_fullres").strides)
    given = PlanOverrides(features_per_stage=tuple(range(200, 200 + stages)))
    plan = apply_overrides(large, given, ("3d_fullres",), GIVENS)
    fitted = fit_to_network(plan, NetworkSettings("unet_plus_plus"), given, ("3d_fullres",), GIVENS)
    new = fitted.plan.configuration("3d_fullres")
    assert new.features_per_stage == given.features_per_stage[: len(new.strides)]
    assert len(new.n_conv_per_stage_decoder) == len(new.strides) - 1


def test_the_memory_of_an_own_network_is_not_known(large):
    own = NetworkSettings("mine", "my_package.MyNet")
    fitted = fit_to_network(large, own, NOTHING, ("2d",), GIVENS)
    assert fitted.plan == large
    assert fitted.messages == ()
    assert as_built(large.configuration("2d"), own) is None


@pytest.mark.parametrize("network", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 500, 500), (5, 60, 70), (3, 4, 5)])
def test_every_network_has_a_place_on_unusual_images(network, shape):
    plan = plan_of(shape)
    fitted = fit_to_network(plan, NetworkSettings(network), NOTHING, tuple(plan.configurations), GIVENS)
    for configuration in fitted.plan.configurations.values():
        assert all(n % d == 0 for n, d in zip(configuration.patch_size, configuration.divisor, strict=True))
        assert configuration.batch_size >= 2


def test_a_batch_refit_to_another_spacing_is_cut_for_memory_only():
    # half the spacing: eight times the voxels, of which 5 % are more patches than the memory has room for
    hippocampus, few = plan_of((36, 50, 35)), RefitGivens(num_training=20)
    given = PlanOverrides(spacing=(0.5, 0.5, 0.5), refit=("batch_size",))
    plan = apply_overrides(hippocampus, given, ("3d_fullres",), few)
    refit = plan.configuration("3d_fullres")
    voxels = 20 * 8 * 36 * 50 * 35
    assert refit.batch_size == round(0.05 * voxels / math.prod(refit.patch_size)) == 6
    assert refit.median_image_size_in_voxels == (72.0, 100.0, 70.0)
    fitted = fit_to_network(plan, NetworkSettings("unet_plus_plus"), given, ("3d_fullres",), few)
    assert (fitted.plan, fitted.messages) == (plan, ())


def test_a_batch_above_the_datasets_share_is_not_cut_for_another_network():
    small = plan_of((40, 56, 40))
    given = replace(small.configuration("3d_fullres"), batch_size=12)
    plan = replace(small, configurations={"3d_fullres": given})
    few = RefitGivens(num_training=20)  # of whose voxels 5 % are one patch
    fitted = fit_to_network(plan, NetworkSettings("vnet"), NOTHING, ("3d_fullres",), few)
    assert (fitted.plan, fitted.messages) == (plan, ())
