"""Bytes that live at once in a forward pass, counted by hand."""

import pytest
import torch
from torch import nn

from segfw.inference.allocations import bytes_per_voxel, small_tile
from segfw.nn.build import build_network
from tests.inference.tiny_model import tiny_configuration


def test_what_is_given_back_counts_no_more():
    """Two convolutions to 4 and 2 channels: 4 and 2 values per voxel live together; adding 1 holds 2 and 2."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv3d(1, 4, 1, bias=False), nn.Conv3d(4, 2, 1, bias=False)

        def forward(self, x):
            x = self.first(x)
            x = self.second(x)
            return x + 1

    assert bytes_per_voxel(Two().eval(), 1, (3, 4, 5)) == 4 * (4 + 2)


def test_what_is_kept_counts():
    class Kept(nn.Module):
        def forward(self, x):
            return torch.cat([x + 1, x + 2, x + 3], 1)

    assert bytes_per_voxel(Kept(), 1, (2, 2)) == 4 * (3 + 3)


@pytest.mark.parametrize("architecture", ["unet", "unet_plus_plus", "vnet"])
def test_a_small_window_tells_what_a_large_one_takes(architecture):
    configuration = tiny_configuration(3)
    network = build_network(configuration, 2, 3, deep_supervision=False, network=architecture).eval()
    small = bytes_per_voxel(network, 2, small_tile((16, 16, 16), configuration.strides))
    assert small == pytest.approx(bytes_per_voxel(network, 2, (16, 16, 16)), rel=0.02)
    assert small > 4 * 5 * 4  # joined, its two parts, and one convolved, of 4 features each


def test_small_windows_reach_the_lowest_stage():
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    assert small_tile((20, 6, 48), strides) == (4, 6, 8)
