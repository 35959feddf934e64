"""Why a case failed: in the error's own words where it has some for the user, else with its traceback."""

import pytest

from segfw.core.errors import DataError
from segfw.core.support.attempts import attempt
from segfw.stages.outcome import Failure, failure_of


def test_an_error_that_is_meant_for_the_user_speaks_for_itself():
    assert failure_of(DataError("case a:\nno image")) == Failure("case a:\nno image")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad\nand more"), "unexpected ValueError: bad"),
        (KeyError("a"), "unexpected KeyError: 'a'"),
        (MemoryError(), "unexpected MemoryError: "),
    ],
)
def test_any_other_is_named_in_one_line_and_keeps_its_traceback_and_cause(error, reason):
    def work():
        raise error from OSError("behind it")

    failure = failure_of(attempt(work).error)
    assert failure.reason == reason
    assert failure.trace.startswith("OSError: behind it\n")
    assert "in work\n    raise error from" in failure.trace
    assert str(error) in failure.trace
