"""Patch and batch."""

from segfw.core.planning.patch_size import (
    choose_batch,
    decoder_counts,
    encoder_counts,
    initial_patch,
    shrink_to_memory,
    stage_features,
    uncut_patch,
)
from segfw.core.planning.planners import PLANNERS, Givens

DEFAULT = Givens(PLANNERS["default"], 8, 3, ("zscore",), (False,))


def test_initial_patch_is_a_physical_cube_cut_to_the_image():
    # 512 mm each way: 512 / 8 = 64 voxels of 8 mm, and 64 * 512 * 512 = 256 ** 3
    assert uncut_patch((8.0, 1.0, 1.0)) == (64, 512, 512)
    assert initial_patch((8.0, 1.0, 1.0), (1000.0, 1000.0, 1000.0)) == (64, 512, 512)
    assert initial_patch((8.0, 1.0, 1.0), (20.5, 300.0, 1000.0)) == (20.5, 300.0, 512)
    assert initial_patch((1.0, 4.0), (1e5, 1e5)) == (4096, 1024)


def test_shrinking_ends_with_the_first_patch_that_fits():
    # from the cube of 256 to what 8 GB hold; of equals the last axis gives way first
    sizes = [topology.patch_size for topology in shrink_to_memory(DEFAULT, (1.0, 1.0, 1.0), (300.0, 300.0, 300.0))]
    assert sizes[:3] == [(256, 256, 256), (256, 256, 224), (256, 224, 224)]
    assert sizes[-1] == (128, 128, 128)


def test_features_and_counts_per_stage():
    assert stage_features(6, 3) == (32, 64, 128, 256, 320, 320)
    assert stage_features(6, 2) == (32, 64, 128, 256, 512, 512)
    assert encoder_counts(PLANNERS["resenc_m"], 6) == (1, 3, 4, 6, 6, 6)
    assert decoder_counts(PLANNERS["default"], 1) == ()


def test_the_batch_is_limited_by_memory_by_the_dataset_and_from_below():
    # the reference estimate 560e6 stands for two patches; half of it for four
    by_memory = choose_batch(DEFAULT, 280_000_000, (10, 10, 10), 1e9)
    assert (by_memory.fitting, by_memory.cap, by_memory.size) == (4.0, 50000.0, 4)
    # 5 % of 60,000 voxels make three patches of 1000
    assert choose_batch(DEFAULT, 1_000_000, (10, 10, 10), 60_000).size == 3
    assert choose_batch(DEFAULT, 560_000_000 * 4, (10, 10, 10), 10).size == 2
