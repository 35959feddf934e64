"""Networks equal nnU-Net's: parameter names, shapes, counts and outputs (data made by running nnU-Net 2.8.1)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import ARCHITECTURES, Configuration
from segfw.core.settings.schema import NetworkSettings
from segfw.core.settings.training import LossSettings
from segfw.nn.build import NETWORKS, build_network, check_arguments, fresh_network, initialize
from segfw.nn.losses import DeepSupervisionLoss, build_loss
from tests.nn.configurations import ANISOTROPIC_3D, ONE_STAGE_2D, PLAIN_3D, RESIDUAL_2D, make_configuration

GOLDEN = Path(__file__).parents[1] / "golden" / "networks"


def golden_network(name: str) -> tuple[nn.Module, dict]:
    facts = json.loads((GOLDEN / f"{name}.json").read_text())
    return build_network(make_configuration(**facts["configuration"]), facts["num_channels"], facts["num_heads"]), facts


TINY = sorted(path.stem for path in GOLDEN.glob("tiny_*.npz"))
FULL_SIZE = sorted(path.stem for path in GOLDEN.glob("*.json") if path.stem not in TINY)


def test_every_reference_network_is_there() -> None:
    assert (len(TINY), len(FULL_SIZE)) == (6, 8)


@pytest.mark.parametrize("name", TINY)
def test_loads_the_reference_weights_and_gives_its_logits(name: str) -> None:
    network, facts = golden_network(name)
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    weights = {key.removeprefix("w::"): value for key, value in arrays.items() if key.startswith("w::")}
    distinct = [key for key in facts["keys"] if not key.startswith("decoder.encoder.") and ".all_modules." not in key]

    network.load_state_dict(weights, strict=True)
    assert list(network.state_dict()) == distinct

    network.skip_lowest_head = False
    with torch.no_grad():
        outputs = network.train()(arrays["input"])
        single = network.eval()(arrays["input"])
    assert len(outputs) == 3
    for depth, output in enumerate(outputs):
        # float32 sums in another order: within 1e-5 where the reference ran (AVX2), within 1.4e-5 with AVX-512
        torch.testing.assert_close(output, arrays[f"output_{depth}"], atol=5e-5, rtol=1e-5)
    assert torch.equal(single, outputs[0])


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_networks_have_the_reference_tensors(name: str) -> None:
    with torch.device("meta"):
        network, facts = golden_network(name)
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert shapes == {key: shape for key, (shape, _) in facts["tensors"].items()}
    assert list(shapes) == list(facts["tensors"])
    assert sum(parameter.numel() for parameter in network.parameters()) == facts["num_parameters"]


def test_initial_weights_are_distributed_as_the_reference_ones() -> None:
    network, facts = golden_network("resenc_3d_M")
    initialize(network, 3)
    for key, tensor in network.state_dict().items():
        expected = facts["tensors"][key][1]
        spread = tensor.std().item() if tensor.numel() > 1 else 0.0
        assert spread == pytest.approx(expected, rel=6 / math.sqrt(tensor.numel()), abs=1e-6), key


@pytest.mark.parametrize("configuration", [PLAIN_3D, RESIDUAL_2D], ids=["plain", "residual"])
def test_initialization_is_he_normal_and_reproducible(configuration: Configuration) -> None:
    first, second, other = (build_network(configuration, 2, 3) for _ in range(3))
    state = torch.random.get_rng_state()
    initialize(first, torch.Generator().manual_seed(5))
    initialize(second, 5)
    initialize(other, 6)
    assert torch.equal(torch.random.get_rng_state(), state)
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key])
        if key.endswith("bias"):
            assert not tensor.any()
    weight = first.decoder.seg_layers[0].weight
    assert not torch.equal(weight, other.decoder.seg_layers[0].weight)


def test_transposed_convolution_has_the_fan_in_of_its_output_channels() -> None:
    # 128 -> 64 channels with 2x2x2: sqrt(2 / 1.0001 / (64 * 8)) = 0.0625
    network = build_network(make_configuration([[1, 1, 1], [2, 2, 2]], [64, 128]), 1, 2)
    initialize(network, 0)
    assert network.decoder.transpconvs[0].weight.std().item() == pytest.approx(0.0625, rel=0.02)


def test_residual_branches_start_at_zero() -> None:
    network = build_network(RESIDUAL_2D, 1, 2)
    initialize(network, 0)
    block = network.encoder.stages[1].blocks[0]
    assert not block.conv2.norm.weight.any()
    assert not block.conv2.norm.bias.any()
    assert (block.conv1.norm.weight == 1).all()
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(block(x), nn.functional.leaky_relu(block.skip(x), 0.01))


def test_shortcuts_hold_what_they_need() -> None:
    stages = build_network(RESIDUAL_2D, 1, 2).encoder.stages
    kinds = [[type(part).__name__ for part in stage.blocks[0].skip] for stage in stages]
    assert kinds == [[], ["AvgPool2d", "ConvBlock"], ["AvgPool2d", "ConvBlock"], ["AvgPool2d"]]
    assert stages[1].blocks[0].skip[1].conv.bias is None


def test_network_name_overrules_the_plan() -> None:
    assert "encoder.stem.convs.0.conv.weight" in build_network(PLAIN_3D, 1, 2, network="residual_unet").state_dict()
    with pytest.raises(UsageError, match="'unett'"):
        build_network(PLAIN_3D, 1, 2, network="unett")


def test_every_architecture_of_the_plan_can_be_built() -> None:
    assert tuple(NETWORKS) == ARCHITECTURES


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("configuration", [ANISOTROPIC_3D, RESIDUAL_2D, ONE_STAGE_2D], ids=["aniso", "2d", "one_stage"])
def test_every_network_keeps_the_protocol(name: str, configuration: Configuration) -> None:
    network = fresh_network(configuration, 2, 3, True, NetworkSettings(name), 0)
    image = torch.randn(2, 2, *configuration.patch_size)
    outputs = network.train()(image)
    assert isinstance(outputs, list)
    assert len(outputs) == network.num_outputs
    assert outputs[0].shape == (2, 3, *configuration.patch_size)
    loss = DeepSupervisionLoss(build_loss(LossSettings(), LabelSet({"background": 0, "a": 1, "b": 2}), True))
    loss(outputs, torch.randint(0, 3, (2, 1, *configuration.patch_size))).backward()
    with torch.no_grad():
        single = network.eval()(image)
        network.train().deep_supervision = False
        assert network.num_outputs == 1
        assert isinstance(network(image), torch.Tensor)
    assert single.shape == outputs[0].shape
    again = build_network(configuration, 2, 3, False, name)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(image), single)


def test_arguments_that_a_network_does_not_take_are_refused() -> None:
    with pytest.raises(UsageError, match=r"vnet takes none, got \['width'\]"):
        build_network(PLAIN_3D, 1, 2, network=NetworkSettings("vnet", arguments={"width": 3}))
    with pytest.raises(UsageError, match=r"bayesian_unet takes \['dropout'\], got \['rate'\]"):
        check_arguments(NetworkSettings("bayesian_unet", arguments={"rate": 0.5}))
    for rate in (1.5, 0, True, "0.3", float("nan")):
        settings = NetworkSettings("bayesian_unet", arguments={"dropout": rate})
        for use in (check_arguments, lambda settings: build_network(PLAIN_3D, 1, 2, network=settings)):
            with pytest.raises(UsageError, match="dropout must be above 0 and below 1, got"):
                use(settings)
