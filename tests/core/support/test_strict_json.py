"""JSON of others: nothing is lost, and no nesting ends the process."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.support.strict_json import load_strict_json

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(VALUES)
def test_what_json_can_say_comes_back(value):
    assert load_strict_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": 1, "c": 2, "b": 1}}', "the key 'b' is given twice"),
        ("[" * 10**5, "nested too deeply"),
        ('{"a":' * 10**5, "nested too deeply"),
        ("9" * 5000, "4300 digits"),
        ("{", "Expecting property name"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        load_strict_json(text)
