"""What a network returns, and when."""

import pytest
import torch

from segfw.nn.build import build_network, initialize
from tests.nn.configurations import PLAIN_3D, RESIDUAL_2D, make_configuration


def test_returns_a_list_only_in_training_with_deep_supervision() -> None:
    network = build_network(RESIDUAL_2D, 2, 3)
    image = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        outputs = network.train()(image)
        network.skip_lowest_head = False
        every_output = network(image)
        network.deep_supervision = False
        single = network(image)
        evaluated = network.eval()(image)
    assert [tuple(o.shape) for o in outputs] == [(1, 3, 32, 32), (1, 3, 16, 16)]
    assert [tuple(o.shape) for o in every_output] == [(1, 3, 32, 32), (1, 3, 16, 16), (1, 3, 8, 8)]
    assert all(torch.equal(a, b) for a, b in zip(outputs, every_output, strict=False))
    assert torch.equal(single, outputs[0])
    assert torch.equal(evaluated, outputs[0])


def test_two_stages_keep_their_only_head() -> None:
    network = build_network(make_configuration([[1, 1], [2, 2]], [2, 3]), 1, 2)
    assert [tuple(o.shape) for o in network.train()(torch.zeros(1, 1, 8, 8))] == [(1, 2, 8, 8)]


@pytest.mark.parametrize("architecture", ["unet", "residual_unet"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_one_stage_is_an_encoder_with_a_head(architecture: str, ndim: int) -> None:
    network = build_network(make_configuration([[1] * ndim], [4], architecture), 2, 3)
    image = torch.randn(2, 2, *[4] * ndim)
    (output,) = network.train()(image)
    assert output.shape == (2, 3, *[4] * ndim)
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.eval()(image).shape == output.shape


def test_skipped_head_gets_no_gradient() -> None:
    network = build_network(PLAIN_3D, 1, 2)
    initialize(network, 0)
    sum(output.square().sum() for output in network.train()(torch.randn(1, 1, 8, 16, 16))).backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}


@pytest.mark.parametrize("architecture", ["unet", "residual_unet"])
def test_odd_strides_and_flat_kernels_keep_sizes(architecture: str) -> None:
    kernels = [(1, 3, 3), (1, 3, 3), (3, 3, 3)]
    configuration = make_configuration([[1, 1, 1], [1, 3, 2], [1, 1, 2]], [2, 3, 4], architecture, kernel_sizes=kernels)
    network = build_network(configuration, 1, 2).eval()
    assert network(torch.zeros(1, 1, *configuration.patch_size)).shape == (1, 2, *configuration.patch_size)
