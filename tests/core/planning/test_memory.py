"""The memory estimate."""

from segfw.core.planning.memory import memory_estimate, stage_sizes, stage_voxels

STRIDES = ((1, 1, 1), *((2, 2, 2),) * 5)
FEATURES = (32, 64, 128, 256, 320, 320)


def test_stage_voxels_divide_edge_by_edge():
    assert stage_voxels((8, 12, 16), ((1, 1, 1), (1, 2, 2), (2, 2, 2))) == [1536, 384, 4 * 3 * 4]


def test_a_network_counted_by_hand():
    # 16 and 4 voxels, 2 and 3 features, 3 outputs: encoder 2*2*16 + 2*3*4 = 88, decoder (1 + 1)*2*16 = 64, head 48
    assert memory_estimate((4, 4), ((1, 1), (2, 2)), (2, 3), (2, 2), (1,), 3, "unet") == 200
    # stem 32; blocks 1*2*2*16 + 1*2*3*4 = 88; shortcut of the strided stage 3*4 = 12; decoder 64; head 48
    assert memory_estimate((4, 4), ((1, 1), (2, 2)), (2, 3), (1, 1), (1,), 3, "residual_unet") == 244


def test_one_stage_counts_no_output():
    # 2 * 32 * 10 * 79 * 108, as nnU-Net 2.8.1 counts the network that it builds
    assert memory_estimate((10, 79, 108), ((1, 1, 1),), (32,), (2,), (), 6, "unet") == 5460480


def test_published_check_values():
    patch = (128, 128, 128)
    assert memory_estimate(patch, STRIDES, FEATURES, (2,) * 6, (2,) * 5, 3, "unet") == 452796416
    blocks = (1, 3, 4, 6, 6, 6)
    assert memory_estimate(patch, STRIDES, FEATURES, blocks, (1,) * 5, 3, "residual_unet") == 557420544


def test_feature_maps_shrink_by_the_strides():
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    assert stage_sizes((32, 64, 64), strides) == [(32, 64, 64), (32, 32, 32), (16, 16, 16)]
    assert stage_voxels((32, 64, 64), strides) == [32 * 64 * 64, 32**3, 16**3]
