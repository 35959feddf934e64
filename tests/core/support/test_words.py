"""Numbers in words."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.support.words import by, counted, in_words, readable_count, readable_size, weighed


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [(0, "error", "no error"), (1, "case", "1 case"), (2, "case", "2 cases"), (3, "process", "3 processes")],
)
def test_counts_take_the_number_of_their_noun(count, noun, words):
    assert counted(count, noun) == words


def test_extents_stand_one_beside_the_other():
    assert by((40, 56, 40)) == "40 x 56 x 40"
    assert by((1.0, 0.767578125, 1234567)) == "1 x 0.767578 x 1234567"
    assert by((3, 3), "×") == "3×3"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "5 s"),
        (59, "59 s"),
        (61, "1 min"),
        (7100, "118 min"),
        (7200, "2.0 h"),
        (1e5, "27.8 h"),
        (2e5, "2.3 days"),
        (700 * 86400, "700.0 days"),
        (1000 * 86400, "2.7 years"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (21_700, "21.7 kB"),
        (85.56e6, "85.6 MB"),
        (999.4e6, "999 MB"),
        (999.6e6, "1.00 GB"),
        (9.994e9, "9.99 GB"),
        (9.996e9, "10.0 GB"),
        (12.44e9, "12.4 GB"),
        (2.5e12, "2.50 TB"),
        (3.2e15, "3200 TB"),
    ],
)
def test_amounts_of_memory_in_powers_of_ten(amount, words):
    assert readable_size(amount) == words


def test_a_small_network_has_a_number_of_parameters():
    assert [readable_count(n) for n in (0, 940, 21_653, 5_603_177)] == ["0", "940", "21.7 k", "5.60 M"]


def test_compared_numbers_get_the_digits_that_tell_them_apart():
    assert weighed(operator.lt, 0.5, 0.75) == ["0.5", "0.75"]
    assert weighed(operator.lt, 0.74999999, 0.75) == ["0.74999999", "0.75"]
    assert weighed(operator.gt, 8.0004, 8.0, digits=2) == ["8.0004", "8"]


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_written_numbers_compare_as_the_numbers_do(one, other):
    first, second = weighed(operator.lt, one, other, digits=2)
    assert (float(first) < float(second)) == (one < other)
