import signal
import threading

import pytest

from segfw.core.support.interruption import uninterrupted


def test_ctrl_c_waits_for_the_end_of_the_block():
    done = []

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("rest")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["rest"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_handlers_are_those_of_before_and_are_called_once(number):
    calls = []
    before = signal.signal(number, lambda *received: calls.append(received[0]))
    try:
        with uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert not calls
        assert calls == [number]
        signal.raise_signal(number)
        assert calls == [number, number]
    finally:
        signal.signal(number, before)


def test_a_warning_that_somebody_answers_waits_and_hides_nothing_else():
    calls = []
    numbers = (signal.SIGUSR1, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *received: calls.append(received[0])) for number in numbers}
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGTERM)
            assert not calls
        assert calls == [signal.SIGUSR1, signal.SIGTERM]
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        with uninterrupted():
            assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_of_the_block_passes():
    with pytest.raises(ValueError, match="of the block"), uninterrupted():
        raise ValueError("of the block")


def test_other_threads_are_left_alone():
    seen = []

    def work():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
