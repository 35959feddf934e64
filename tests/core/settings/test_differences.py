"""Keys that differ between configurations."""

from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.settings.differences import differing, flatten


def test_keys_are_dotted_and_lists_are_values():
    assert flatten({"a": {"b": 1, "c": {}}, "d": [{"e": 2}]}) == {"a.b": 1, "a.c": {}, "d": [{"e": 2}]}


def test_only_what_differs_with_every_value():
    one, two, three = {"x": 1, "y": [1, 2], "z": 0}, {"x": 1, "y": [1, 3], "z": 0}, {"x": 1, "y": [1, 2], "w": None}
    assert differing([one, two, three]) == {"y": [[1, 2], [1, 3], [1, 2]], "z": [0, 0, None]}
    assert differing([one, one]) == {}


NESTED = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda below: st.dictionaries(st.text("abc", min_size=1), below),
    max_leaves=5,
)


@settings(max_examples=30)
@given(st.dictionaries(st.text("abc", min_size=1), NESTED))
def test_a_configuration_does_not_differ_from_itself_and_no_mapping_is_left(config):
    flat = flatten(config)
    assert differing([flat, flat]) == {}
    assert all(value == {} or not isinstance(value, dict) for value in flat.values())
