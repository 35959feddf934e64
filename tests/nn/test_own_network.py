"""A network of the user's: what it is given, and how mistakes are told."""

import re
import sys

import pytest
import torch

from segfw.core.errors import UsageError
from segfw.core.settings.schema import NetworkSettings
from segfw.nn.build import build_network, fresh_network
from segfw.nn.own_network import check_portable, try_own_network, without_values
from tests.nn.configurations import PLAIN_3D, RESIDUAL_2D
from tests.nn.own import MyNet


def own(name: str, **arguments: object) -> NetworkSettings:
    return NetworkSettings("mine", f"tests.nn.own.{name}", arguments)


@pytest.mark.parametrize("configuration", [PLAIN_3D, RESIDUAL_2D])
def test_is_given_topology_counts_and_arguments(configuration) -> None:
    network = build_network(configuration, 2, 3, False, own("MyNet", width=7))
    assert isinstance(network, MyNet)
    assert (network.head.in_channels, network.head.out_channels, network.deep_supervision) == (7, 3, False)
    assert network.eval()(torch.zeros(1, 2, *configuration.patch_size)).shape == (1, 3, *configuration.patch_size)


def test_its_weights_follow_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    one, two, other = (fresh_network(PLAIN_3D, 1, 2, True, own("MyNet"), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(one["head.weight"], two["head.weight"])
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_is_tried_without_computing_where_that_goes() -> None:
    assert next(try_own_network(own("MyNet"), PLAIN_3D, 1, 2).parameters()).device.type == "meta"
    assert next(try_own_network(own("Values"), PLAIN_3D, 1, 2).parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            NetworkSettings("mine", "nowhere_to_be_found.MyNet"),
            "cannot import.*No module named.*found by `python -m",
        ),
        (NetworkSettings("mine", "MyNet"), "must be package.module.Name"),
        (own("Nothing"), "cannot import 'tests.nn.own.Nothing'.*no attribute 'Nothing'"),
        (own("number"), "is no class or function that makes a network, got int"),
        (own("no_module"), "must give a torch.nn.Module, got str"),
        (own("MyNet", widht=3), "called with topology, num_channels, num_outputs, widht it raised TypeError.*widht"),
        (own("MyNet", width="x"), "does not work; called with"),
        (own("Half"), r"logits of shape \(2, 2, 8, 16, 16\) in training .*got \(2, 2, 4, 8, 8\)"),
        (own("Third"), r"a size that divides the patch \(8, 16, 16\), got \(2, 2, 8, 16, 15\)"),
        (own("Raises", kind="own"), r"num_outputs, kind it raised Odd: no \(.*own.py, line \d+\)"),
        (own("Raises", kind="plain"), r"raised Exception: no \(.*own.py, line \d+\)"),
        (own("Raises", kind="stop"), r"raised StopIteration: no \(.*own.py, line \d+\)"),
        (own("Raises", kind="exit"), r"raised SystemExit: no \(.*own.py, line \d+\)"),
        (own("Locked"), r"raised Odd: locked \(.*own.py, line \d+\)"),
        (own("Broken"), r"given patches of 8 x 16 x 16, it raised KeyError: 'nothing here' \(.*own.py, line"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(settings: NetworkSettings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        try_own_network(settings, PLAIN_3D, 1, 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import sys; sys.exit(4)", r"SystemExit: 4 \({file}, line 2\)"),
        ("class Odd(Exception): pass\nraise Odd", r"Odd: no message \({file}, line 3\)"),
        ("def broken(:", r"SyntaxError: invalid syntax \({file}, line 2\)"),
        ("import nothing_of_that_name", r"No module named 'nothing_of_that_name' \({file}, line 2\); install it"),
    ],
)
def test_a_module_that_does_not_load_is_told_with_file_and_line(tmp_path, monkeypatch, line, said) -> None:
    (tmp_path / "mine_that_fails.py").write_text(f"width = 3\n{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_that_fails", raising=False)
    file = re.escape(str(tmp_path / "mine_that_fails.py"))
    with pytest.raises(UsageError, match=f"network._target_: cannot import .*{said.replace('{file}', file)}"):
        build_network(PLAIN_3D, 1, 2, network=NetworkSettings("mine", "mine_that_fails.Net"))


def test_what_needs_values_is_built_with_them_and_moves_no_random_number() -> None:
    state = torch.random.get_rng_state()
    for name, device in (("MyNet", "meta"), ("Values", "cpu")):
        built = without_values(lambda name=name: build_network(PLAIN_3D, 1, 2, network=own(name)))
        assert built.head.weight.device.type == device
    assert torch.equal(torch.random.get_rng_state(), state)


def test_arguments_must_not_name_places_of_this_machine(tmp_path) -> None:
    check_portable(own("MyNet", width=7, block="res/net", pretrained=None))
    with pytest.raises(UsageError, match=r"network\.arguments\.weights=/home/x/w\.pt names a place on this machine"):
        check_portable(own("MyNet", weights="/home/x/w.pt"))
