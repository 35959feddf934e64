"""The search space: how ranges are written, which are refused, and that a drawn value is read back as it was."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.sweeps.space import Choice, Interval, make_space, param_texts, searched_keys, written

PARSER = OverridesParser.create()


def space(params, *arguments):
    return make_space(PARSER, params, arguments)


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("interval(0.001, 0.03)", Interval(0.001, 0.03)),
        ("tag(log, interval(1e-3, 3e-2))", Interval(0.001, 0.03, log=True)),
        ("int(interval(2, 8))", Interval(2, 8, integer=True)),
        ("range(2, 9, 3)", Interval(2, 8, step=3, integer=True)),
        ("range(0, 0.5, 0.25)", Interval(0, 0.25, step=0.25)),
        ("choice(default, light)", Choice(("default", "light"))),
        ("vnet,unet", Choice(("vnet", "unet"))),
        ("choice(0.1, 0.1, true, 'a b')", Choice(("0.1", "True", r"a\ b"))),
        ("choice([2, 4], [8])", Choice(("[2,4]", "[8]"))),
    ],
)
def test_ranges_are_written_as_hydra_has_them(text, dimension):
    assert space({"a.b": text}).dimensions == {"a.b": dimension}
    assert space({}, f"a.b={text}").dimensions == {"a.b": dimension}


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        (
            {"lr": "interval(0.3, 0.1)"},
            (),
            r"lr must be an interval\(low,high\) with low below high, got 'interval\(0.3",
        ),
        ({"lr": "tag(log, interval(0, 1))"}, (), r"lr must .*above 0 with the tag log.*'tag\(log, interval\(0, 1\)\)'"),
        ({"lr": "tag(cube, interval(1, 2))"}, (), "lr must .*which is the only one, got .*cube"),
        ({"lr": "interval(0, inf)"}, (), "lr must be an interval.*inf"),
        ({"n": "range(3, 4)"}, (), r"n must be a range of two numbers or more, got 'range\(3, 4\)'"),
        ({"lr": "interval(1"}, (), r"hydra.sweeper.params.lr cannot be read: 'interval\(1'"),
        ({"lr": ["a", "b"]}, (), r"hydra.sweeper.params.lr must be text.*got a list: \['a', 'b'\]"),
        ({"lr": "0.1"}, ("seed=1",), "nothing to search"),
        ({"lr": "choice(1,2)"}, ("folds=0,1",), r"folds must be the same in every trial: .*got '0,1'"),
    ],
)
def test_what_cannot_be_searched_is_refused(params, arguments, message):
    with pytest.raises(UsageError, match=message):
        space(params, *arguments)


def test_the_command_line_has_the_last_word():
    found = space({"lr": "interval(0,1)", "network": "choice(a,b)", "decay": "0.1"}, "network=vnet", "lr=choice(1,2)")
    assert found.dimensions == {"lr": Choice(("1", "2"))}
    assert found.overrides({"lr": "2"}) == ["network=vnet", "decay=0.1", "lr=2"]


def test_pluses_stay_with_their_keys():
    found = space({"+network.arguments.dropout": "interval(0,1)"}, "+task=Task04")
    assert found.overrides({"network.arguments.dropout": 0.25}) == ["+task=Task04", "+network.arguments.dropout=0.25"]


def test_keys_may_be_nested_or_dotted_and_null_takes_one_out():
    assert param_texts({"optimizer.lr": "a", "optimizer": {"lr": "b", "eps": 1}, "x": True}) == {
        "optimizer.lr": "b",
        "optimizer.eps": "1",
        "x": "true",
    }
    assert param_texts({"optimizer.lr": "a", "optimizer": {"lr": None}}) == {}
    assert searched_keys({"+a.b": "choice(1,2)", "c": {"d": 3}}) == {"a.b", "c.d"}


@given(st.floats(1e-12, 1e12))
def test_a_number_is_read_back_with_all_its_digits(value):
    (override,) = PARSER.parse_overrides([f"lr={written(value)}"])
    assert override.value() == value
