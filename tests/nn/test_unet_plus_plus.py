"""UNet++'s grid of nodes, its supervision and its cutting."""

import pytest
import torch

from segfw.core.errors import UsageError
from segfw.nn.build import build_network, cut, initialize
from segfw.nn.unet_plus_plus import UNetPlusPlus
from tests.nn.configurations import ANISOTROPIC_3D, ONE_STAGE_2D, PLAIN_3D


def plus_plus(configuration=ANISOTROPIC_3D) -> UNetPlusPlus:
    network = build_network(configuration, 1, 2, network="unet_plus_plus")
    initialize(network, 0)
    return network


def test_a_node_sees_all_earlier_ones_of_its_level_and_the_one_below() -> None:
    network = plus_plus()
    assert set(network.nodes) == {"0_1", "0_2", "0_3", "1_1", "1_2", "2_1"}
    # level 0 has 4 features: the enlarged node and one to three of its own level
    assert [network.nodes[f"0_{j}"].convs[0].conv.in_channels for j in (1, 2, 3)] == [8, 12, 16]
    assert network.nodes["1_2"].convs[0].conv.in_channels == 18
    # decoder convolutions of the plan, counted from the bottom: 1, 2, 3
    assert [len(network.nodes[name].convs) for name in ("2_1", "1_1", "1_2", "0_1", "0_3")] == [1, 2, 2, 3, 3]


def test_every_depth_is_supervised_at_full_resolution_the_deepest_first() -> None:
    network = plus_plus()
    image = torch.randn(1, 1, *ANISOTROPIC_3D.patch_size)
    with torch.no_grad():
        outputs = network.train()(image)
        assert {tuple(output.shape) for output in outputs} == {(1, 2, *ANISOTROPIC_3D.patch_size)}
        network.eval()
        for depth, output in zip((3, 2, 1), outputs, strict=True):
            cut(network, depth)
            assert torch.equal(network(image), output)
        cut(network, None)
        assert torch.equal(network(image), outputs[0])


def test_a_cut_network_does_not_compute_what_is_deeper() -> None:
    network = plus_plus().eval()
    cut(network, 1)
    for name, parameter in network.named_parameters():
        used = ("encoder.stages.0", "encoder.stages.1", "nodes.0_1.", "upsamplings.0_1.", "seg_layers.0")
        if not name.startswith(used):
            parameter.data.fill_(torch.nan)
    with torch.no_grad():
        assert torch.isfinite(network(torch.randn(1, 1, *ANISOTROPIC_3D.patch_size))).all()


def test_cutting_does_not_touch_training() -> None:
    network = plus_plus().train()
    cut(network, 1)
    assert len(network(torch.randn(1, 1, *ANISOTROPIC_3D.patch_size))) == 3


def test_depths_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="between 1 and 2 for this model, got 3"):
        cut(plus_plus(PLAIN_3D), 3)
    for depth in (0, -3):
        with pytest.raises(UsageError, match=f"between 1 and 2 for this model, got {depth}"):
            cut(plus_plus(PLAIN_3D), depth)
    with pytest.raises(UsageError, match=r"inference\.depth=1 cuts a unet_plus_plus"):
        cut(build_network(PLAIN_3D, 1, 2), 1)
    cut(build_network(PLAIN_3D, 1, 2), None)


def test_one_stage_is_an_encoder_with_a_head() -> None:
    network = plus_plus(ONE_STAGE_2D)
    assert (network.max_depth, network.num_outputs, len(network.seg_layers)) == (0, 1, 1)
    assert network.eval()(torch.randn(1, 1, 4, 4)).shape == (1, 2, 4, 4)
