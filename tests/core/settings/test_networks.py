"""Names of networks, and what only some of them can do."""

from dataclasses import replace

import pytest

from segfw.core.errors import UsageError
from segfw.core.plan import ARCHITECTURES
from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings, InferenceSettings, NetworkSettings, TaskSettings
from segfw.core.settings.training import LossSettings

SETTINGS = ExperimentSettings(task=TaskSettings("Mine", "Mine"))
OWN = "my_package.MyNet"


@pytest.mark.parametrize("name", ["planned", *ARCHITECTURES])
def test_known_names(name):
    assert check_settings(replace(SETTINGS, network=NetworkSettings(name))).network.name == name


def test_an_own_network_has_a_name_of_its_own():
    network = NetworkSettings("mine_2", OWN, {"width": 32})
    assert check_settings(replace(SETTINGS, network=network)).network == network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (NetworkSettings("vnett"), "did you mean 'vnet'.*needs network._target_"),
        (NetworkSettings(_target_=OWN), "needs a name of its own.*network.name=mine; got 'planned', which is taken"),
        (NetworkSettings("vnet", OWN), "got 'vnet', which is taken"),
        (NetworkSettings("../mine", OWN), "letters, digits and _, got '../mine'"),
        (NetworkSettings("", OWN), "got ''"),
        (NetworkSettings("mine", OWN, {"topology": 1}), r"must not hold \['topology'\]"),
    ],
)
def test_other_names_are_refused(network, message):
    with pytest.raises(UsageError, match=message):
        check_settings(replace(SETTINGS, network=network))


def test_only_nested_networks_that_were_supervised_can_be_cut():
    cut = InferenceSettings(depth=2)
    nested = replace(SETTINGS, network=NetworkSettings("unet_plus_plus"), inference=cut)
    assert check_settings(nested).inference.depth == 2
    with pytest.raises(UsageError, match="cuts network=unet_plus_plus, got network=planned"):
        check_settings(replace(SETTINGS, inference=cut))
    with pytest.raises(UsageError, match=r"needs loss\.deep_supervision=true"):
        check_settings(replace(nested, loss=LossSettings(deep_supervision=False)))
    with pytest.raises(UsageError, match=r"inference\.depth must be at least 1, got 0"):
        check_settings(replace(nested, inference=InferenceSettings(depth=0)))
    with pytest.raises(UsageError, match=r"inference\.samples must be at least 2, got 1"):
        check_settings(replace(SETTINGS, inference=InferenceSettings(samples=1)))
    with pytest.raises(UsageError, match=r"inference\.memory_gb must be above 0, got 0"):
        check_settings(replace(SETTINGS, inference=InferenceSettings(memory_gb=0.0)))
