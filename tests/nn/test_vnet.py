"""V-Net's residual stages, wide kernels and learned steps."""

import torch
from torch import nn

from segfw.nn.build import build_network
from segfw.nn.vnet import VNetStage
from tests.nn.configurations import ANISOTROPIC_3D, PLAIN_3D


def test_kernels_are_five_where_the_plan_has_three() -> None:
    network = build_network(ANISOTROPIC_3D, 1, 2, network="vnet")
    kernels = [stage.convs[0].conv.kernel_size for stage in network.encoder.stages]
    assert kernels == [(1, 5, 5), (1, 5, 5), (5, 5, 5), (5, 5, 5)]
    assert [stage.convs[0].conv.kernel_size for stage in network.decoder.stages] == kernels[-2::-1]


def test_steps_down_and_up_are_learned_and_have_a_nonlinearity() -> None:
    network = build_network(ANISOTROPIC_3D, 1, 2, network="vnet")
    down, up = network.encoder.reductions, network.decoder.transpconvs
    assert [step[0].kernel_size for step in down] == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    assert [step[0].stride for step in up] == [(2, 2, 2), (1, 2, 2), (1, 2, 2)]
    assert all(isinstance(step[2], nn.PReLU) for step in (*down, *up))


def test_convolutions_per_stage_are_the_plans() -> None:
    network = build_network(ANISOTROPIC_3D, 1, 2, network="vnet")
    assert [len(stage.convs) for stage in network.encoder.stages] == [2, 1, 3, 2]
    assert [len(stage.convs) for stage in network.decoder.stages] == [1, 2, 3]


def test_a_stage_learns_what_to_add_to_its_input() -> None:
    stage = VNetStage(2, 4, 4, (3, 3))
    nn.init.zeros_(stage.convs[-1].norm.weight)  # nothing to add
    nn.init.zeros_(stage.convs[-1].norm.bias)
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(stage(x), torch.where(x > 0, x, 0.25 * x))


def test_input_is_projected_only_where_the_width_changes() -> None:
    network = build_network(PLAIN_3D, 1, 2, network="vnet")
    kinds = [type(stage.shortcut).__name__ for stage in (*network.encoder.stages, *network.decoder.stages)]
    assert kinds == ["Conv3d", "Identity", "Identity", "Conv3d", "Conv3d"]
