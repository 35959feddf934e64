"""The strict way between values and plain containers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.plan import IntensityStatistics
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.conversion import from_plain, to_plain


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...]
    pair: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Outer:
    inner: Inner
    kind: Literal["a", "b"] = "a"
    maybe: float | None = None
    named: dict[str, int | tuple[int, ...]] | None = None


def test_round_trip():
    value = Outer(Inner((1, 2), (0.5, 2.0)), "b", 1e-5, {"x": 1, "y": (2, 3)})
    assert from_plain(Outer, to_plain(value)) == value


def test_settings_round_trip():
    assert from_plain(ExperimentSettings, to_plain(ExperimentSettings())) == ExperimentSettings()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=7, max_size=7))
def test_floats_survive(values):
    statistics = IntensityStatistics(*values)
    assert from_plain(IntensityStatistics, to_plain(statistics)) == statistics


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"inner": {"size": [1]}}, "unknown key 'plan.inner.size', did you mean 'sizes'"),
        ({}, "missing key 'plan.inner'"),
        ({"inner": {"sizes": [1, "x"]}}, r"plan.inner.sizes\[1\] must be an integer, got 'x'"),
        ({"inner": {"sizes": 3}}, "plan.inner.sizes must be a list, got 3"),
        ({"inner": {"sizes": [1], "pair": [1]}}, r"plan.inner.pair needs 2 entries, got 1"),
        ({"inner": {"sizes": [True]}}, r"must be an integer, got True"),
        ({"inner": {"sizes": [1]}, "kind": "c"}, r"plan.kind must be one of \['a', 'b'\], got 'c'"),
        ({"inner": [1]}, "plan.inner must be a mapping"),
        ({"inner": {"sizes": [1]}, "maybe": "much"}, "plan.maybe must be a number, got 'much'"),
    ],
)
def test_mistakes_are_named_with_their_place(plain, message):
    with pytest.raises(UsageError, match=message):
        from_plain(Outer, plain, "plan")


def test_yaml_leaves_short_exponents_as_text():
    assert from_plain(Outer, {"inner": {"sizes": [1]}, "maybe": "1e-5"}).maybe == 1e-5


def test_numpy_scalars_become_plain():
    assert to_plain({"a": np.float32(0.5), "b": (np.int64(3),)}) == {"a": 0.5, "b": [3]}


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e30])
def test_integers_beyond_every_use_are_refused(value):
    with pytest.raises(UsageError, match=r"seed must be an integer of at most 2\^63 - 1, got a larger one"):
        from_plain(int, value, "seed")
