"""One row a fault, errors first; many warnings of the same words share a row, errors never do."""

from segfw.core.cases.fault_table import count_words, in_order, table
from segfw.core.cases.faults import Fault


def warnings(count):
    return [Fault(f"case{number:03}", "warning", "alpha", "left out") for number in range(count)]


def lines(faults):
    return [line for _, line in table(in_order(faults), "see FILE")]


def test_columns_are_aligned_and_errors_come_first():
    faults = [Fault("b", "warning", "alpha", "left out"), Fault("long_name", "error", "4d", "two volumes")]
    assert lines(faults) == [
        "case       severity  kind   what",
        "long_name  error     4d     two volumes",
        "b          warning   alpha  left out",
    ]


def test_five_equal_warnings_have_a_row_each_and_six_share_one():
    assert len(lines(warnings(5))) == 6
    assert lines(warnings(6))[1:] == ["6 cases  warning   alpha  left out (first: case000)"]


def test_each_error_has_its_row_up_to_two_hundred():
    faults = [Fault(f"case{number:03}", "error", "shape", "odd") for number in range(203)]
    found = lines(faults)
    assert len(found) == 202
    assert found[-1] == "... and 3 more rows: see FILE"
    assert all(f"case{number:03}" in found[number + 1] for number in range(200))


def test_nothing_to_say_is_no_table():
    assert lines([]) == []


def test_counts_in_words():
    errors = [Fault("a", "error", "shape", "x"), Fault("a", "error", "origin", "x")]
    assert count_words(errors, 40) == "40 cases: 2 errors in 1 case, no warning"
    assert count_words(warnings(1), 1) == "1 case: no error, 1 warning"
