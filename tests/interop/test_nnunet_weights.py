"""nnU-Net's names of weights and ours (golden networks: made by running nnU-Net 2.8.1)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.interop.nnunet_weights import (
    canonical_name,
    weights_from_nnunet,
    weights_to_nnunet,
)
from segfw.nn.build import build_network, check_weights, network_shapes
from tests.nn.configurations import make_configuration

GOLDEN = Path(__file__).parents[1] / "golden" / "networks"
TINY = ("tiny_plain_2d", "tiny_plain_3d_aniso", "tiny_resenc_2d", "tiny_resenc_3d_aniso")


def golden(name):
    """Return (facts, configuration, our weights, arrays) of a golden network."""
    facts = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    weights = {key.removeprefix("w::"): value for key, value in arrays.items() if key.startswith("w::")}
    return facts, make_configuration(**facts["configuration"]), weights, arrays


@pytest.mark.parametrize("name", TINY)
def test_a_state_dict_of_nnunet_gives_its_logits(name):
    facts, configuration, weights, arrays = golden(name)
    state = {key: weights[canonical_name(key)].clone() for key in facts["keys"]}
    ours = weights_from_nnunet(state)
    check_weights(ours, network_shapes(configuration, facts["num_channels"], facts["num_heads"]))
    network = build_network(configuration, facts["num_channels"], facts["num_heads"]).eval()
    network.load_state_dict(ours, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(network(arrays["input"]), arrays["output_0"], atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_there_and_back_with_the_names_of_nnunet_in_its_order(name):
    facts, configuration, weights, _ = golden(name)
    assert list(weights) == list(network_shapes(configuration, facts["num_channels"], facts["num_heads"]))
    theirs = weights_to_nnunet(weights)
    assert list(theirs) == facts["keys"]
    assert {tensor.data_ptr() for tensor in theirs.values()} == {tensor.data_ptr() for tensor in weights.values()}
    back = weights_from_nnunet(theirs)
    assert list(back) == list(weights)
    assert all(back[key] is weights[key] for key in weights)


# Names: 8 per block with a bias, twice in the encoder; 12 per projection of a shortcut; 2 per transposed convolution
# and per head. Numbers of distinct tensors and of parameters: as counted in nnU-Net.
THREE = {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "features_per_stage": [32, 64, 128]}
FLAT_FIRST = {"kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]]}
SIX = {"strides": [[1, 1, 1], *[[2, 2, 2]] * 5], "features_per_stage": [32, 64, 128, 256, 320, 320]}
PLAIN, RESIDUAL = {"architecture": "unet"}, {"architecture": "residual_unet"}


@pytest.mark.parametrize(
    ("configuration", "channels", "names", "distinct", "parameters"),
    [
        (THREE | FLAT_FIRST | PLAIN, 2, 3 * 2 * 16 + 2 * 2 * 8 + 2 * 2 + 2 * 2, 48, 1274694),
        (THREE | RESIDUAL | {"n_conv_per_stage": [1, 3, 4]}, 1, (1 + 2 * 8) * 16 + 2 * 12 + 2 * 8 + 8, 90, None),
        (SIX | PLAIN, 1, 6 * 2 * 16 + 5 * 2 * 8 + 5 * 2 + 5 * 2, 108, 31196399),
        (
            SIX | RESIDUAL | {"n_conv_per_stage": [1, 3, 4, 6, 6, 6]},
            1,
            (1 + 2 * 26) * 16 + 4 * 12 + 5 * 8 + 5 * 2 + 5 * 2,
            264,
            102350575,
        ),
    ],
)
def test_networks_have_as_many_names_as_in_nnunet(configuration, channels, names, distinct, parameters):
    shapes = network_shapes(make_configuration(**configuration), channels, 3)
    assert len(shapes) == distinct
    assert parameters in (None, sum(int(np.prod(shape)) for shape in shapes.values()))
    assert len(weights_to_nnunet({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})) == names


def test_a_projection_follows_the_pooling_and_has_no_bias():
    shapes = network_shapes(make_configuration(**THREE, **RESIDUAL, n_conv_per_stage=[1, 3, 4]), 1, 3)
    projection = "encoder.stages.1.blocks.0.skip.1"
    assert shapes[f"{projection}.conv.weight"] == (64, 32, 1, 1, 1)
    assert f"{projection}.conv.bias" not in shapes


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_distributed_and_compiled_training_are_taken_off(prefix):
    facts, _, weights, _ = golden("tiny_plain_2d")
    state = {f"{prefix}{key}": weights[canonical_name(key)] for key in facts["keys"]}
    assert list(weights_from_nnunet(state)) == list(weights)


def test_nan_under_two_names_of_a_tensor_is_no_contradiction():
    nan = torch.full((2,), torch.nan)
    weights = weights_from_nnunet({"a.convs.0.norm.weight": nan, "a.convs.0.all_modules.1.weight": nan.clone()})
    assert list(weights) == ["a.convs.0.norm.weight"]


def test_names_that_contradict_each_other_are_refused():
    facts, _, weights, _ = golden("tiny_plain_2d")
    state = {key: weights[canonical_name(key)].clone() for key in facts["keys"]}
    state["encoder.stages.0.0.convs.0.all_modules.1.weight"] += 1
    with pytest.raises(ArtefactError, match=r"0\.norm\.weight and .*0\.all_modules\.1\.weight must be one tensor"):
        weights_from_nnunet(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("decoder.seg_layers.2.bias"), r"1 missing: decoder\.seg_layers\.2\.bias"),
        (
            lambda w: w.update({"encoder.stages.0.0.convs.0.norm.running_mean": torch.zeros(4)}),
            r"1 unexpected: encoder\.stages\.0\.0\.convs\.0\.norm\.running_mean",
        ),
        (
            lambda w: w.update({"decoder.seg_layers.2.bias": torch.zeros(7)}),
            r"1 of another shape: decoder\.seg_layers\.2\.bias \(7,\) instead of \(4,\)",
        ),
        (lambda w: w.clear(), r"68 missing: .*, \.\.\."),
    ],
)
def test_weights_of_another_network_are_named(change, message):
    facts, configuration, weights, _ = golden("tiny_plain_2d")
    change(weights)
    with pytest.raises(ArtefactError, match=f"do not fit the planned network; {message}"):
        check_weights(weights, network_shapes(configuration, facts["num_channels"], facts["num_heads"]))
