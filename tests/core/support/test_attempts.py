"""An error of every kind becomes a value, or is looked at on its way; what ends the program is neither unless asked."""

import pytest

from segfw.core.support.attempts import Attempt, attempt, on_error

ENDS = [KeyboardInterrupt(), SystemExit(143), GeneratorExit()]


def raising(error):
    def call():
        raise error

    return call


def test_a_call_that_succeeds_gives_its_result_none_included():
    assert attempt(lambda: 3) == Attempt(returned=3)
    assert attempt(lambda: 3).result() == 3
    assert attempt(lambda: None).result() is None


@pytest.mark.parametrize("error", [ValueError("bad"), MemoryError(), AssertionError(), StopIteration()], ids=repr)
def test_whatever_a_call_raises_is_kept_with_its_traceback_and_can_be_raised_again(error):
    ended = attempt(raising(error))
    assert ended.error is error
    assert error.__traceback__.tb_next.tb_frame.f_code.co_name == "call"
    with pytest.raises(type(error)) as caught:
        ended.result()
    assert caught.value is error


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_what_ends_the_program_is_kept_only_where_that_is_asked_for(end):
    with pytest.raises(type(end)) as caught:
        attempt(raising(end))
    assert caught.value is end
    assert attempt(raising(end), BaseException).error is end


def test_another_kind_is_raised():
    assert isinstance(attempt(raising(KeyError("a")), LookupError).error, KeyError)
    with pytest.raises(OSError, match="full"):
        attempt(raising(OSError("full")), LookupError)


def test_an_error_is_looked_at_once_and_goes_on():
    seen, error = [], ValueError("bad")
    with pytest.raises(ValueError, match="bad") as caught, on_error(seen.append):
        raise error
    assert caught.value is error
    assert seen == [error]


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_what_ends_the_program_is_looked_at_only_where_that_is_asked_for(end):
    seen = []
    with pytest.raises(type(end)), on_error(seen.append):
        raise end
    assert seen == []
    with pytest.raises(type(end)), on_error(seen.append, BaseException):
        raise end
    assert seen == [end]


def test_a_block_that_ends_in_order_is_not_looked_at():
    seen = []
    with on_error(seen.append, BaseException):
        pass
    assert seen == []


def test_what_the_look_raises_takes_the_place_of_the_error_and_remembers_it():
    with pytest.raises(OSError, match="full") as caught, on_error(lambda error: raising(OSError("full"))()):
        raise ValueError("bad")
    assert repr(caught.value.__context__) == "ValueError('bad')"
