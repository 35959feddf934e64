"""Configurations that inherit from one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.planning.inheritance import find_inheritance, resolve_inheritance

BASE = {"batch_size": 2, "patch_size": [8, 8], "resampling": {"order_z": 0, "order_image": 3}}


def test_own_keys_are_laid_over_the_parents_along_the_chain():
    entries = {
        "grandchild": {"inherits": "child", "patch_size": [16, 16]},
        "child": {"inherits": "base", "batch_size": 4, "resampling": {"order_z": 1}},
        "base": BASE,
    }
    resolved = resolve_inheritance(entries)
    assert resolved["base"] == BASE
    assert resolved["child"] == {**BASE, "batch_size": 4, "resampling": {"order_z": 1, "order_image": 3}}
    assert resolved["grandchild"] == {**resolved["child"], "patch_size": [16, 16]}


def test_the_order_of_the_file_stays():
    assert list(resolve_inheritance({"b": {"inherits": "a"}, "a": {}, "c": {}})) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"a": {"inherits": "bas"}, "base": {}},
            r"configurations.a.inherits must be one of \['base'\], got 'bas', did",
        ),
        ({"a": {"inherits": None}, "base": {}}, r"configurations.a.inherits must be one of \['base'\], got None"),
        ({"a": {"inherits": ["base"]}, "base": {}}, r"got \['base'\]"),
        ({"a": {"inherits": "a"}}, r"configurations.a.inherits goes round in a circle: a -> a"),
        (
            {"a": {"inherits": "b"}, "b": {"inherits": "c"}, "c": {"inherits": "b"}},
            r"configurations.c.inherits goes round in a circle: b -> c -> b",
        ),
    ],
)
def test_parents_that_cannot_be(entries, message):
    with pytest.raises(UsageError, match=message):
        resolve_inheritance(entries)


def test_a_chain_of_thousands_is_no_problem():
    entries = {f"c{i}": {"inherits": f"c{i - 1}"} for i in range(20_000, 0, -1)} | {"c0": {"batch_size": 2}}
    assert resolve_inheritance(entries)["c20000"] == {"batch_size": 2}


def test_only_stages_of_a_cascade_are_shortened():
    full = {**BASE, "previous_stage": None}
    entries = {"2d": full, "3d_fullres": full, "cascade": {**full, "previous_stage": "3d_lowres"}}
    assert find_inheritance(entries) == {
        "2d": full,
        "3d_fullres": full,
        "cascade": {"inherits": "2d", "previous_stage": "3d_lowres"},
    }


def test_an_entry_that_differs_in_everything_stays_whole():
    other = {"batch_size": 4, "patch_size": [16, 16], "resampling": {}, "previous_stage": "x"}
    assert find_inheritance({"a": {**BASE, "previous_stage": None}, "b": other})["b"] == other


values = st.integers(0, 1) | st.none() | st.lists(st.integers(0, 1), max_size=1)
entry = st.fixed_dictionaries(
    {"a": values, "b": values, "c": values, "d": values, "previous_stage": st.sampled_from([None, "x"])}
)


@given(st.dictionaries(st.sampled_from("pqrstu"), entry))
def test_reading_undoes_writing(entries):
    assert resolve_inheritance(find_inheritance(entries)) == entries
