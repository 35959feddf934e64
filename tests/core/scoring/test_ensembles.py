"""Which members are averaged."""

import pytest

from segfw.core.errors import UsageError
from segfw.core.scoring.ensembles import ensembles_of, name_of, parse_ensembles

NAMES = ("a/u/2d", "a/u/3d_fullres", "b/u/2d")


def test_pairs_all_and_none():
    pairs = [(NAMES[0], NAMES[1]), (NAMES[0], NAMES[2]), (NAMES[1], NAMES[2])]
    assert ensembles_of(NAMES, "pairs") == pairs
    assert ensembles_of(NAMES, "all") == [*pairs, NAMES]
    assert ensembles_of(NAMES, "none") == []
    assert ensembles_of(NAMES[:1], "pairs") == ensembles_of(NAMES[:1], "all") == ensembles_of((), "pairs") == []


def test_lists_name_candidates_or_their_configuration():
    assert ensembles_of(NAMES, (("a/u/2d", "b/u/2d"), ("2d", "3d_fullres"))) == [
        ("a/u/2d", "b/u/2d"),
        ("a/u/2d", "b/u/2d", "a/u/3d_fullres"),
    ]
    assert ensembles_of(NAMES, (("3d_fullres", "3d_lowres"),)) == [("a/u/3d_fullres", "3d_lowres")]
    assert name_of(("x", "y")) == "x + y"


def test_what_a_person_may_give():
    assert parse_ensembles("all") == "all"
    assert parse_ensembles([["2d", "3d_fullres"]]) == (("2d", "3d_fullres"),)
    assert parse_ensembles([]) == ()


@pytest.mark.parametrize("value", ["pair", [["2d"]], [["2d", "2d"]], ["2d", "3d_fullres"], [[1, 2]], 3, None])
def test_what_is_refused(value):
    with pytest.raises(UsageError, match=r"selection\.ensembles must be .* got " + repr(value).replace("[", r"\[")):
        parse_ensembles(value)


def test_a_near_word_is_named():
    with pytest.raises(UsageError, match=r"got 'pair', did you mean 'pairs'\?"):
        parse_ensembles("pair")
