"""What `core` counts without building a network is what the built network has: parameters, operations, memory."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from segfw.core.plan import ARCHITECTURES, Configuration
from segfw.core.planning.cost import forward_flops, parameter_count
from segfw.core.planning.memory import configuration_memory
from segfw.nn.build import build_network
from tests.nn.configurations import ANISOTROPIC_3D, ONE_STAGE_2D, PLAIN_3D, RESIDUAL_2D, make_configuration

CHANNELS, HEADS = 2, 3
# as wide as planned networks are, so that what grows with the features outweighs the outputs
WIDE_3D = make_configuration([[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]], [32, 64, 128, 256])
WIDE_2D = make_configuration([[1, 1], [2, 2], [2, 2], [2, 2]], [32, 64, 128, 256], n_conv_per_stage=[1, 3, 4, 6])
TINY = [PLAIN_3D, ANISOTROPIC_3D, RESIDUAL_2D, ONE_STAGE_2D, WIDE_3D, WIDE_2D]
IDS = ["3d", "anisotropic", "2d", "one_stage", "wide_3d", "wide_2d"]


def built(configuration: Configuration, architecture: str) -> tuple[Configuration, nn.Module]:
    with torch.device("meta"):
        network = build_network(configuration, CHANNELS, HEADS, network=architecture).train()
    network.skip_lowest_head = False
    return replace(configuration, architecture=architecture), network


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("configuration", TINY, ids=IDS)
def test_parameters(configuration: Configuration, architecture: str) -> None:
    changed, network = built(configuration, architecture)
    assert parameter_count(changed, CHANNELS, HEADS) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("configuration", TINY, ids=IDS)
def test_operations_are_those_of_its_convolutions(configuration: Configuration, architecture: str) -> None:
    changed, network = built(configuration, architecture)
    counted = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        weight = module.weight  # (out, in, *kernel), of a transposed convolution (in, out, *kernel)
        transposed = "Transpose" in type(module).__name__
        values = inputs[0].numel() // weight.shape[0] if transposed else output.numel() // weight.shape[0]
        counted.append(2 * values * weight.numel())

    for module in network.modules():
        if "Conv" in type(module).__name__ and hasattr(module, "weight"):
            module.register_forward_hook(count)
    with torch.device("meta"):
        network(torch.zeros(changed.batch_size, CHANNELS, *changed.patch_size))
    assert forward_flops(changed, CHANNELS, HEADS) == sum(counted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("configuration", [WIDE_3D, WIDE_2D], ids=["3d", "2d"])
def test_memory_is_half_the_values_that_autograd_keeps(configuration: Configuration, architecture: str) -> None:
    configuration = replace(configuration, patch_size=tuple(4 * n for n in configuration.patch_size))
    changed, network = built(configuration, architecture)
    kept: dict[int, int] = {}
    tensors = []  # alive, so that no storage is counted for another

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        tensors.append(tensor)
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes() // tensor.element_size()
        return tensor

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(1, CHANNELS, *changed.patch_size))
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    total = sum(values for storage, values in kept.items() if storage not in weights)
    assert configuration_memory(changed, HEADS) == pytest.approx(total / 2, rel=0.05)
