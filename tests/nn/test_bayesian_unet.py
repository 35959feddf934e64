"""Dropout by channels, and samples of a network."""

import pytest
import torch

from segfw.core.settings.schema import NetworkSettings
from segfw.nn.bayesian_unet import ChannelDropout
from segfw.nn.build import build_network, draw_dropout, fresh_network, has_dropout
from tests.nn.configurations import PLAIN_3D


@pytest.mark.parametrize("ndim", [2, 3])
def test_training_drops_channels_of_each_sample_for_itself(ndim: int) -> None:
    torch.manual_seed(0)
    dropped = ChannelDropout(200, 0.25).train()(torch.ones(2, 200, *[3] * ndim))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    per_channel = dropped.flatten(2)
    assert torch.equal(per_channel.amin(2), per_channel.amax(2))
    assert not torch.equal(per_channel[0], per_channel[1])
    assert dropped.mean().item() == pytest.approx(1, abs=0.1)


def test_the_mean_network_drops_nothing() -> None:
    x = torch.randn(1, 4, 3, 3)
    assert ChannelDropout(4, 0.5).eval()(x) is x


def test_a_draw_holds_until_the_next_and_follows_from_its_seed() -> None:
    network = fresh_network(PLAIN_3D, 1, 2, True, NetworkSettings("bayesian_unet"), 0).eval()
    image = torch.randn(1, 1, *PLAIN_3D.patch_size)
    state = torch.random.get_rng_state()
    outputs = []
    with torch.no_grad():
        mean = network(image)
        for seed in (1, 1, 2):
            draw_dropout(network, torch.Generator().manual_seed(seed))
            outputs.append(network(image))
            assert torch.equal(network(image), outputs[-1])
        draw_dropout(network, None)
        assert torch.equal(network(image), mean)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_are_those_of_the_plain_network_by_the_same_names() -> None:
    network, plain = build_network(PLAIN_3D, 1, 2, network="bayesian_unet"), build_network(PLAIN_3D, 1, 2)
    network.load_state_dict(plain.state_dict(), strict=True)
    image = torch.randn(1, 1, *PLAIN_3D.patch_size)
    with torch.no_grad():
        assert torch.equal(network.eval()(image), plain.eval()(image))
    assert (has_dropout(network), has_dropout(plain)) == (True, False)


def test_the_rate_is_an_argument() -> None:
    network = build_network(PLAIN_3D, 1, 2, network=NetworkSettings("bayesian_unet", arguments={"dropout": 0.4}))
    rates = [module.rate for module in network.modules() if isinstance(module, ChannelDropout)]
    assert rates == [0.4] * 5
