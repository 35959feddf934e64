"""Parameters and operations."""

from dataclasses import replace

import pytest

from segfw.core.plan import Configuration
from segfw.core.planning.cost import forward_flops, parameter_count


def configuration(patch=(40, 56, 40), stages=4, batch_size=9, features=(32, 64, 128, 256), **changes):
    """Build an isotropic plain U-Net."""
    ndim = len(patch)
    plain = Configuration(
        spacing=(1.0,) * ndim,
        patch_size=patch,
        batch_size=batch_size,
        median_image_size_in_voxels=tuple(float(n) for n in patch),
        architecture="unet",
        features_per_stage=features,
        kernel_sizes=((3,) * ndim,) * stages,
        strides=((1,) * ndim, *((2,) * ndim,) * (stages - 1)),
        n_conv_per_stage=(2,) * stages,
        n_conv_per_stage_decoder=(2,) * (stages - 1),
        normalization_schemes=("zscore",),
        use_mask_for_norm=(False,),
        batch_dice=False,
    )
    return replace(plain, **changes)


def test_a_network_counted_by_hand():
    small = configuration((4, 4), 2, 3, (2, 3), n_conv_per_stage=(1, 1), n_conv_per_stage_decoder=(1,))
    # encoder: 9*1*2 + 2 + 4 and 9*2*3 + 3 + 6; transposed 4*3*2 + 2; decoder 9*4*2 + 2 + 4; head 2*5 + 5
    assert parameter_count(small, 1, 5) == 24 + 63 + 26 + 78 + 15
    # multiply-adds: 16*9*1*2 + 4*9*2*3 + 16*3*2 + 16*9*4*2 + 16*2*5 = 1912; two operations each, batch 3
    assert forward_flops(small, 1, 5) == 3 * 2 * (288 + 216 + 96 + 1152 + 160)


def test_one_stage_has_a_head_all_the_same():
    small = configuration((4, 4), 1, 3, (2,), n_conv_per_stage=(1,), n_conv_per_stage_decoder=())
    assert parameter_count(small, 1, 5) == 24 + 15
    assert forward_flops(small, 1, 5) == 3 * 2 * (288 + 160)


@pytest.mark.parametrize(
    ("changes", "channels", "expected"),
    [
        ({}, 1, 5603177),
        ({"patch": (56, 40)}, 1, 1928489),
        ({"patch": (128, 128, 128), "stages": 6, "features": (32, 64, 128, 256, 320, 320)}, 1, 31196399),
    ],
)
def test_parameters_of_known_plain_networks(changes, channels, expected):
    assert parameter_count(configuration(**changes), channels, 3) == expected


def test_parameters_of_known_uneven_networks():
    kernels = ((1, 3, 3), (3, 3, 3), (3, 3, 3))
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    uneven = configuration((8, 32, 32), 3, 2, (32, 64, 128), kernel_sizes=kernels, strides=strides)
    assert parameter_count(uneven, 2, 3) == 1274694
    residual = configuration(
        (64, 64, 64),
        6,
        2,
        (32, 64, 128, 256, 320, 320),
        architecture="residual_unet",
        n_conv_per_stage=(1, 3, 4, 6, 6, 6),
        n_conv_per_stage_decoder=(1,) * 5,
    )
    assert parameter_count(residual, 1, 3) == 102350575


def test_operations_of_a_known_network_and_their_laws():
    small = configuration()
    assert forward_flops(small, 1, 3) == pytest.approx(0.345e12, rel=0.01)
    assert forward_flops(replace(small, batch_size=18), 1, 3) == 2 * forward_flops(small, 1, 3)
    large = configuration((128, 128, 128), 6, 2, (32, 64, 128, 256, 320, 320))
    assert forward_flops(large, 1, 3) == pytest.approx(1.91e12, rel=0.01)
