"""Which cases belong together: by names, by tables, joined; and names that suggest patients, or do not."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.cases.groups import group_regex, groups_by_column, groups_by_pattern, guess_group_pattern, join_groups
from segfw.core.errors import DataError, UsageError

TABLE = {"a": {"patient": "p1", "site": "x"}, "b": {"patient": " p1 "}, "c": {"patient": "p2"}, "other": {}}


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"(patient\d+)_", ["patient001", "patient002"]),
        (r"patient\d+", ["patient001", "patient002"]),
        (r"(?P<who>\d+)_", ["001", "002"]),
        (r"frame(99)|\d+", ["001", "002"]),  # the first group takes no part: the match counts
    ],
)
def test_a_pattern_gives_its_first_group_or_the_match(pattern, groups):
    names = ["patient002_frame01", "patient001_frame12"]
    assert groups_by_pattern(names, pattern) == dict(zip(sorted(names), groups, strict=True))


@pytest.mark.parametrize("pattern", [r"patient(\d+)", r"x*"])
def test_cases_in_whose_names_nothing_is_found_are_named(pattern):
    message = re.escape(f"split.group_pattern={pattern} finds nothing in 1 of 2 case names: ['b7']")
    names = ["patient1", "b7"] if "patient" in pattern else ["xx", "b7"]
    with pytest.raises(DataError, match=message):
        groups_by_pattern(names, pattern)


def test_an_invalid_pattern_is_refused():
    with pytest.raises(UsageError, match=r"split.group_pattern=\(.\+ is no regular expression: missing \)"):
        group_regex("(.+")


def test_a_column_gives_the_groups_and_other_rows_do_not_matter():
    assert groups_by_column(TABLE, ["c", "b", "a"], "patient", "t.csv") == {"a": "p1", "b": "p1", "c": "p2"}


def test_what_a_table_lacks_is_named():
    with pytest.raises(
        UsageError, match=r"split.group_key=pat: t.csv has no such column; it has \['patient', 'site'\]"
    ):
        groups_by_column(TABLE, ["a"], "pat", "t.csv")
    with pytest.raises(DataError, match=r"t.csv has no row for 2 of 3 cases: \['x', 'y'\]"):
        groups_by_column(TABLE, ["a", "y", "x"], "patient", "t.csv")
    with pytest.raises(DataError, match=r"column 'site' is empty for 2 of 3 cases: \['b', 'c'\]"):
        groups_by_column(TABLE, ["a", "b", "c"], "site", "t.csv")


def test_groups_are_joined_through_chains():
    groups = {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}
    assert join_groups(groups, [("c", "b"), ("d", "c")]) == {"a": "1", "b": "2", "c": "2", "d": "2", "e": "5"}
    assert join_groups(groups, []) == groups


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=2), max_size=5))
def test_cases_that_stay_together_have_one_group(together):
    joined = join_groups({name: name for name in "abcdef"}, together)
    assert all(len({joined[name] for name in cases}) == 1 for cases in together)
    assert joined == join_groups({name: name for name in "abcdef"}, reversed(together))


def test_thousands_of_pairs_are_joined_at_once():
    names = [f"{number:05d}" for number in range(10_000)]
    chain = list(pairwise(reversed(names)))
    begun = time.process_time()
    assert set(join_groups({name: name for name in names}, chain).values()) == {"00000"}
    assert time.process_time() - begun < 0.5  # with every group renamed for each pair: 100 million names


def numbered(form: str, *numbers: int) -> list[str]:
    """`form` filled with every combination of numbers from 1 to each of `numbers`."""
    combinations = [()]
    for number in numbers:
        combinations = [(*head, i) for head in combinations for i in range(1, number + 1)]
    return [form.format(*each) for each in combinations]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (numbered("patient{:03d}_frame{:02d}", 20, 2), "(.+)_"),
        (numbered("sub-{:02d}_ses-{:02d}", 8, 3), "(.+)_"),
        (numbered("patient_{}_{}", 10, 3), "(.+)_"),
        (numbered("sub-{:02d}-{}", 12, 2), "(.+)-"),
        (numbered("P{:03d}.scan{}", 12, 2), r"(.+)\."),
        ([f"{i:03d}_{side}" for i in range(30) for side in ("L", "R")], "(.+)_"),
        ([f"LIDC-{i:04d}_T{t}" for i in range(30) for t in (1, 2)], "(.+)_"),
        ([*numbered("p{:02d}_t{}", 10, 2), "phantom"], "(.+)_|.+"),
        (numbered("p{:02d}_slice{:03d}", 20, 30), "(.+)_"),
    ],
)
def test_names_that_plainly_are_several_per_patient(names, pattern):
    assert guess_group_pattern(names) == pattern
    groups = groups_by_pattern(names, pattern)
    assert all(name.startswith(group) for name, group in groups.items())
    assert 1 < len(set(groups.values())) < len(names)


@pytest.mark.parametrize(
    "names",
    [
        numbered("hippocampus_{:03d}", 260),
        numbered("la_{:03d}", 20),
        numbered("img{:04d}", 30),
        numbered("BRATS_{:03d}", 484),
        numbered("case_{}_{}", 20, 2),
        numbered("BraTS-GLI-{:05d}-{:03d}", 100, 1),
        numbered("FLARE22_Tr_{:04d}", 50),
        numbered("site{}_patient{:03d}", 5, 20),
        numbered("center{:02d}_case{:02d}", 30, 3),
        numbered("hospital{}_ct{:03d}", 4, 25),
        numbered("dataset2020_volume{}", 40),
        [f"{letter}_{i}" for letter in "ab" for i in range(20)],
        [f"scan{i}_left" for i in range(20)],
        [*numbered("patient{:03d}_frame{:02d}", 3, 2), *numbered("other_{:02d}", 30)],
        ["only"],
        [],
    ],
)
def test_names_that_are_not(names):
    assert guess_group_pattern(names) is None
