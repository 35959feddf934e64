"""What a case takes at each step, worked out by hand, and the refusal of one that takes too much."""

import pytest
import torch

from segfw.core.errors import JobError
from segfw.inference.fallbacks import Attempts, Way
from segfw.inference.memory import Budget, Need
from segfw.inference.needs import CaseNeed, CaseSizes, case_need, check_need, left_for_computing
from segfw.inference.restoring_planes import Place
from segfw.inference.sliding_window import Means

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
PLACE = Place(band_bytes=1000)


def means(device=CPU):
    return Means(Attempts("windows", (Way(device, 1),)), network_bytes=100.0)


def test_a_case_step_by_step(plan):
    """1000 voxels raw, 800 cropped, 10 x 8 x 8 = 640 for the network; 2 channels, 3 heads, windows of 8 x 8 x 8."""
    sizes = CaseSizes(1000, 800, {"3d_fullres": (10, 8, 8)})
    need = case_need(plan, sizes, {"3d_fullres": means()}, Budget(1e9, 0), PLACE)
    images, maps = 4 * 2 * 640, 2 * 3 * 640
    window = 4 * 512 * (2 * 2 + 3 * 3) + 150
    sums = 4 * (3 + 3) * 8 * 64
    assert need.images == images
    assert need.maps == maps
    assert need.preparing == Need(4 * 2 * 1000 + images + 2 * 4 * 1000)
    assert need.computing == Need(images + maps + sums + window)
    assert need.restoring == Need(maps + 800 + 2 * 1000 + 1000)
    assert need.total.host == need.preparing.host + need.computing.host + need.restoring.host
    assert need.to_come.host == maps + sums + window + 800 + 2 * 1000 + 1000


def test_configurations_hold_each_others_images_and_logits(plan):
    grids = {"3d_fullres": (8, 8, 8), "2d": (9, 8, 8)}
    both = case_need(plan, CaseSizes(600, 600, grids), dict.fromkeys(grids, means()), Budget(1e9, 0), PLACE)
    alone = case_need(
        plan, CaseSizes(600, 600, {"3d_fullres": (8, 8, 8)}), {"3d_fullres": means()}, Budget(1e9, 0), PLACE
    )
    other = 9 * 64 * (4 * 2 + 2 * 3)
    assert both.computing.host == alone.computing.host + other
    assert both.maps == 2 * 3 * (512 + 576)


def test_samples_take_two_more_maps(plan):
    sizes, of = CaseSizes(512, 512, {"3d_fullres": (8, 8, 8)}), {"3d_fullres": means()}
    plain, sampled = (case_need(plan, sizes, of, Budget(1e9, 0), PLACE, flag) for flag in (False, True))
    assert sampled.computing.host - plain.computing.host == 2 * 4 * 3 * 512


def test_the_device_has_image_sums_and_bands(plan):
    sizes, place = CaseSizes(1000, 800, {"3d_fullres": (10, 8, 8)}), Place(GPU, 500, None)
    need = case_need(plan, sizes, {"3d_fullres": means(GPU)}, Budget(1e9, 1e9), place)
    assert need.computing.device == 4 * 2 * 640 + 4 * 6 * 512 + 4 * 512 * 13 + 150
    assert need.restoring.device == 500
    assert need.total.device == need.computing.device + 500


def test_planned_sizes_are_those_of_the_plan(plan):
    sizes = CaseSizes.planned(plan, ["3d_fullres", "2d"])
    assert sizes.raw == sizes.cropped == 8 * 9 * 10
    assert sizes.grids == {"3d_fullres": (8, 8, 8), "2d": (8, 8, 8)}


CASE = CaseNeed(Need(1e9), Need(4e9, 2e9), Need(1.52e9, 0.5e9), images=0.5e9, maps=1e9)


def test_a_budget_is_shared_by_three_cases():
    left = left_for_computing(Budget(8e9, 8e9, given=True), CASE.preparing, CASE.restoring)
    assert left == Budget(8e9 - 2.52e9, 7.5e9, given=True)
    free = Budget(3e9, 3e9)
    assert left_for_computing(free, CASE.preparing, CASE.restoring) == free


def test_too_small_a_budget_names_what_would_do():
    check_need(CASE, Budget(6.6e9, 6.6e9, given=True), "an image")
    with pytest.raises(
        JobError,
        match=r"an image takes about 6\.52 GB of memory, and 2\.50 GB on the device in the most frugal way, and "
        r"inference\.memory_gb=6\.5 allows less; inference\.memory_gb=6\.6 would do",
    ):
        check_need(CASE, Budget(6.5e9, 6.5e9, given=True), "an image")


def test_what_would_do_leaves_room_for_the_larger_bands_of_a_larger_budget():
    """0.09 GB beside the band: a budget of 0.1 GB would make that 0.0125 GB and not suffice."""
    needs = {gb: CaseNeed(Need(0.05e9), Need(0.03e9), Need(0.01e9 + gb * 1e9 / 8), 0, 0) for gb in (0.01, 0.1, 0.2)}
    with pytest.raises(JobError, match=r"inference\.memory_gb=0\.2 would do"):
        check_need(needs[0.01], Budget(0.01e9, 0.01e9, given=True), "an image")
    with pytest.raises(JobError, match="allows less"):
        check_need(needs[0.1], Budget(0.1e9, 0.1e9, given=True), "an image")
    check_need(needs[0.2], Budget(0.2e9, 0.2e9, given=True), "an image")


def test_too_little_free_memory_is_told_before_it_is_used():
    """To come: 4 - 0.5 + 1.52 - 1 GB; free is what the budget is 80 % of."""
    check_need(CASE, Budget(0.8 * 4.1e9, 0.8 * 2.1e9), "an image")
    with pytest.raises(JobError, match=r"takes about 4\.02 GB .* but free are 3\.50 GB of memory, and 2\.10 GB"):
        check_need(CASE, Budget(0.8 * 3.5e9, 0.8 * 2.1e9), "an image")
