"""YAML without surprises and without danger."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.support.strict_yaml import MAX_CHARACTERS, dump_yaml, load_strict_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-20", -20),
        ("1e-5", 1e-5),
        ("1.5E3", 1500.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("null", None),
        ("", None),
        # what YAML 1.1 makes other things of: a truth value, 62 (base 60), 8 (octal), 1000, a date
        ("yes", "yes"),
        ("1:02", "1:02"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("<<", "<<"),
    ],
)
def test_plain_words(text, value):
    assert load_strict_yaml(f"a: {text}", "file")["a"] == value


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "file is no YAML: line 1, column 6: while parsing a flow sequence"),
        ("b: 1\na: 1\nc: 1\na: 2", "line 4, column 1: the key 'a' is given twice, first in line 2"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!timestamp 1", "could not determine a constructor"),
        ("a: !!binary x", "could not determine a constructor"),
        ("a: !!int x", "'x': invalid literal"),
        ("a: !!float x", "'x': could not convert"),
        ("a: !!bool maybe", "'maybe' is no truth value"),
        ("a: !!bool [1]", "line 1, column 4: expected a scalar node, but found sequence"),
        ("a: !!int {}", "line 1, column 4: expected a scalar node, but found mapping"),
        ("a: 1\nb: !!map 1", "file is no YAML: line 2, column 4: expected a mapping node, but found scalar"),
        ("a: !!map [1]", "line 1, column 4: expected a mapping node, but found sequence"),
        ("a: !!seq 1", "line 1, column 4: expected a sequence node, but found scalar"),
        ("a: !!set 1", "line 1, column 4: could not determine a constructor"),
        ("a: !!omap 1", "line 1, column 4: could not determine a constructor"),
        ("a: " + "9" * 5000, "'9999"),
        ("? [1]\n: 2", "unhashable key"),
        ("a: \x00", "is no YAML: unacceptable character"),
        ("a: *b", "undefined alias"),
        ("&a [*a]", "a part refers to itself"),
        ("a: &a {b: *a}", "a part refers to itself"),
        (LAUGHS, "with its aliases written out it has more than 200000 values"),
        ("[" * 800, "nested too deeply"),
        ("- " * 800, "nested too deeply"),
        ("a: [" * 101, "nested too deeply"),
        ("a" * (MAX_CHARACTERS + 1), "file has 4000001 characters, more than the 4000000 that are read"),
        ("1\n---\n2", "expected a single document"),
    ],
)
def test_what_is_not_read(text, message):
    with pytest.raises(UsageError, match=message):
        load_strict_yaml(text, "file")


def test_a_few_aliases_are_fine():
    assert load_strict_yaml("a: &rows [1, 2]\nb: *rows", "file") == {"a": [1, 2], "b": [1, 2]}


scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
looks_like_a_number = st.from_regex(r"[-+]?[0-9._]{1,4}([eE][-+]?[0-9]{1,3})?", fullmatch=True)
keys = words | looks_like_a_number | st.sampled_from(["yes", "null", "1e5", ".inf", "<<", "=", "0o7", "~"])


@settings(deadline=None)
@given(
    st.recursive(scalars | keys, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
)
def test_what_is_written_comes_back(value):
    text = dump_yaml(value)
    assert load_strict_yaml(text, "file") == value
    yaml.safe_load(text)  # other programs can read it


@settings(deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#?, \n01.~<=%@`", max_size=40))
def test_any_text_is_read_or_refused(text):
    message = "file is read"
    try:
        load_strict_yaml(text, "file")
    except UsageError as error:
        message = str(error)
    assert message.startswith("file ")
