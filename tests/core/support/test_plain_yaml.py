"""What programs write is read; what only a hostile file holds is refused before anything is built of it."""

from itertools import pairwise

import pytest
import yaml

from segfw.core.support.plain_yaml import load_plain_yaml

TENFOLD = [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi")]


def test_scalars_lists_and_mappings_are_read():
    plain = {"a": [1, 2.5, None, True], "b": {"c": "text", "d": []}}
    assert load_plain_yaml(yaml.safe_dump(plain)) == plain
    assert load_plain_yaml("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join(["a: &a [1, 1]", *TENFOLD]), r"an alias, \*a, is not allowed"),
        ("a: &a {x: 1}\nb: {<<: [*a, *a]}", r"an alias, \*a"),
        ("a: &a [*a]", r"an alias, \*a"),
        ("[" * 300_000, "nested more than 100 deep"),
        ("- " * 300_000, "nested more than 100 deep"),
        ("{a: " * 300_000, "nested more than 100 deep"),
        ("!!python/object/apply:os.getpid []", "python/object/apply:os.getpid"),
        ("!!python/name:os.system", "python/name:os.system"),
        ("a: !!bool foo", "a value cannot be built: KeyError: 'foo'"),
        ("a: !!timestamp foo", "a value cannot be built: AttributeError"),
        ("a: !!int x", "a value cannot be built: ValueError: invalid literal"),
        ("a: !!float x", "a value cannot be built: ValueError: could not convert"),
        ("a: !!binary é", "failed to convert base64 data into ascii"),
        ("a: !!map 1", "expected a mapping node"),
        ("a: 2026-13-45", "a value cannot be built: ValueError: month must be in 1..12"),
        ("a: 1\nb: {c: 1, c: 2}", "the key 'c' is given twice, first in line 2"),
        ("a: [", "did not find expected node content"),
    ],
)
def test_what_no_program_of_ours_writes_is_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        load_plain_yaml(text)


def test_a_hundred_levels_are_read():
    assert load_plain_yaml("[" * 100 + "]" * 100)
