"""Which tensors of another model a network takes, adapts or leaves; expected values derived by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.nn.build import build_network, initialize
from segfw.nn.transfer import Ends, adapt_channels, find_ends, transfer
from tests.nn.configurations import PLAIN_3D, RESIDUAL_2D, make_configuration

ENDS = Ends(frozenset({"first"}), frozenset({"head"}))


def weights(**shapes):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


HERE = {"first": (4, 1, 3, 3), "middle": (6, 4, 3, 3), "head": (3, 6, 1, 1)}


def network(configuration, channels, heads, seed):
    built = build_network(configuration, channels, heads)
    initialize(built, seed)
    return built


@pytest.mark.parametrize("configuration", [PLAIN_3D, RESIDUAL_2D], ids=["plain", "residual"])
def test_the_ends_of_a_network_are_found(configuration):
    ends = find_ends(lambda channels, heads: build_network(configuration, channels, heads), 2, 3)
    first = "stem" if configuration is RESIDUAL_2D else "stages.0.0"
    assert ends.inputs == {f"encoder.{first}.convs.0.conv.weight"}
    count = len(configuration.strides) - 1
    assert ends.heads == {f"decoder.seg_layers.{i}.{part}" for i in range(count) for part in ("weight", "bias")}


def test_the_same_network_is_taken_whole():
    here, there = weights(**HERE), weights(**HERE)
    done = transfer(here, there, ENDS, same_labels=True, on_mismatch="error")
    assert done.taken == ("first", "middle", "head")
    assert (done.adapted, done.left, done.unused) == ({}, {}, ())
    assert all(done.weights[name] is there[name] for name in there)
    assert done.summary() == "3 tensors taken, 0 adapted, 0 left fresh, 0 of the source unused"


@pytest.mark.parametrize("on_mismatch", ["error", "adapt", "skip"])
def test_heads_for_unknown_labels_are_new_as_in_nnunet(on_mismatch):
    done = transfer(weights(**HERE), weights(**HERE), ENDS, same_labels=None, on_mismatch=on_mismatch)
    assert done.taken == ("first", "middle")
    assert done.left == {"head": "a new head: the source states no labels"}
    assert done.lines()[-1] == "left     head: a new head: the source states no labels"


def test_other_labels_are_a_mismatch_and_get_new_heads():
    same_count = weights(**HERE)
    with pytest.raises(UsageError, match=r"1 of the network's 3 tensors do not fit:\n  head: a new head: other labels"):
        transfer(weights(**HERE), same_count, ENDS, same_labels=False, on_mismatch="error")
    more = weights(**{**HERE, "head": (5, 6, 1, 1)})
    with pytest.raises(UsageError, match=r"head: .*\(5, 6, 1, 1\) there, \(3, 6, 1, 1\) here\n.*on_mismatch=adapt"):
        transfer(weights(**HERE), more, ENDS, same_labels=None, on_mismatch="error")
    for on_mismatch in ("adapt", "skip"):
        done = transfer(weights(**HERE), more, ENDS, same_labels=False, on_mismatch=on_mismatch)
        assert done.taken == ("first", "middle")
        assert list(done.left) == ["head"]


def test_channels_are_averaged_and_repeated():
    one = torch.tensor([[[[6.0]]], [[[-2.0]]]])  # two filters, one channel
    assert adapt_channels(one, 2).flatten().tolist() == [3, 3, -1, -1]
    two = torch.tensor([[[[1.0]], [[5.0]]]])  # one filter, two channels
    assert adapt_channels(two, 1).flatten().tolist() == [6]
    assert adapt_channels(two, 3).flatten().tolist() == [2, 2, 2]


@given(st.integers(1, 5), st.integers(1, 5))
def test_repeated_images_give_what_they_gave(before, after):
    weight = torch.randn(3, before, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(before))
    image = torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(after))
    first = torch.nn.functional.conv2d(image.expand(1, before, 4, 4), weight)
    second = torch.nn.functional.conv2d(image.expand(1, after, 4, 4), adapt_channels(weight, after))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(("there", "here"), [(1, 2), (2, 1)])
def test_other_channels(there, here):
    target = weights(**{**HERE, "first": (4, here, 3, 3)})
    source = weights(**{**HERE, "first": (4, there, 3, 3)})
    why = f"{there} channels there, {here} here"
    with pytest.raises(UsageError, match=f"first: {why}"):
        transfer(target, source, ENDS, same_labels=True, on_mismatch="error")
    adapted = transfer(target, source, ENDS, same_labels=True, on_mismatch="adapt")
    assert (adapted.adapted, adapted.left) == ({"first": why}, {})
    assert adapted.weights["first"].shape == (4, here, 3, 3)
    skipped = transfer(target, source, ENDS, same_labels=True, on_mismatch="skip")
    assert (skipped.adapted, skipped.left) == ({}, {"first": why})
    assert "first" not in skipped.weights


def test_other_stages_are_left_and_told():
    source = weights(first=(4, 1, 3, 3), middle=(8, 4, 3, 3), head=(3, 6, 1, 1), deep=(9, 9, 3, 3))
    target = weights(**HERE, extra=(2,))
    done = transfer(target, source, ENDS, same_labels=True, on_mismatch="adapt")
    assert done.taken == ("first", "head")
    assert done.left == {"middle": "(8, 4, 3, 3) there, (6, 4, 3, 3) here", "extra": "not in the source, (2,) here"}
    assert done.unused == ("deep",)
    with pytest.raises(UsageError, match=r"2 of the network's 4 tensors do not fit"):
        transfer(target, source, ENDS, same_labels=True, on_mismatch="error")


def test_a_hidden_layer_is_never_taken_for_the_first():
    source = weights(**{**HERE, "middle": (6, 2, 3, 3)})
    done = transfer(weights(**HERE), source, ENDS, same_labels=True, on_mismatch="adapt")
    assert list(done.left) == ["middle"]


@pytest.mark.parametrize("on_mismatch", ["adapt", "skip"])
def test_nothing_in_common_is_an_error(on_mismatch):
    with pytest.raises(
        UsageError, match=r"none of the 1 tensors fits the network's 3; it has first, middle, head, the"
    ):
        transfer(weights(**HERE), weights(other=(2,)), ENDS, same_labels=None, on_mismatch=on_mismatch)


@pytest.mark.parametrize(("fresh", "mostly"), [(0, False), (2, False), (3, True)])
def test_more_than_half_left_fresh_is_mostly_fresh(fresh, mostly):
    target = weights(**{f"new{i}": (2,) for i in range(fresh)}, kept=(3,), first=(4, 1, 3, 3))
    source = weights(kept=(3,), first=(4, 2, 3, 3))
    assert transfer(target, source, ENDS, None, "adapt").is_mostly_fresh is mostly


def test_many_mismatches_are_counted():
    target = weights(**{f"layer{i}": (2,) for i in range(8)}, kept=(3,))
    with pytest.raises(UsageError, match=r"layer4: .*\n  and 3 more\n"):
        transfer(target, weights(kept=(3,)), ENDS, same_labels=None, on_mismatch="error")


def test_real_networks_of_other_channels_and_labels():
    configuration = make_configuration([[1, 1], [2, 2]], [4, 6])
    source = network(configuration, 1, 3, seed=1).state_dict()
    target = network(configuration, 2, 5, seed=2)
    ends = find_ends(lambda channels, heads: build_network(configuration, channels, heads), 2, 5)
    done = transfer(target.state_dict(), source, ends, same_labels=False, on_mismatch="adapt")
    assert list(done.adapted) == ["encoder.stages.0.0.convs.0.conv.weight"]
    assert set(done.left) == {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}
    assert len(done.taken) == len(source) - 3
    missing, unexpected = target.load_state_dict(done.weights, strict=False)
    assert (set(missing), unexpected) == (set(done.left), [])
    assert torch.equal(
        target.state_dict()["encoder.stages.1.0.convs.0.conv.weight"], source["encoder.stages.1.0.convs.0.conv.weight"]
    )
