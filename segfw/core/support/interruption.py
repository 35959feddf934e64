"""Ctrl-C and termination: how a command ends in order, and steps that must not be cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from segfw.core.support.parents import EXIT_AFTER_SIGTERM
from segfw.core.support.slurm import WARNINGS

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let what would interrupt the block wait until it has ended; in other than the main thread nothing does.

    That is Ctrl-C, SIGTERM, and those of SLURM's warnings that somebody answers.
    For short steps only: a block that hangs could not be left.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: dict[int, FrameType | None] = {}
    answered = (*SIGNALS, *(number for number in WARNINGS if callable(signal.getsignal(number))))
    before = {number: signal.signal(number, arrived.setdefault) for number in answered}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in arrived.items():
            handler = before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)
            else:
                signal.raise_signal(number)


def interruption_behind(error: BaseException | None) -> BaseException | None:
    """Return the Ctrl-C or termination in whose wake `error` was raised; None where there is none.

    What unwinds may meet its own half-made objects, and raise of them what hides why it unwinds.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        ended = isinstance(found, SystemExit) and found.code == EXIT_AFTER_SIGTERM
        if ended or isinstance(found, KeyboardInterrupt):
            return found
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__]
    return None


@contextmanager
def leaving_on_sigterm(warned: list[int] | None = None) -> Iterator[None]:
    """End in order on SIGTERM: locks are given back and worker processes ended on the way out.

    With a list also on the warnings that SLURM sends before it ends a job, which are put into it. In other than the
    main thread nothing changes.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGTERM and warned is not None:
            warned.append(number)
        raise SystemExit(EXIT_AFTER_SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    answered = (signal.SIGTERM, *(() if warned is None else WARNINGS))
    before = {number: signal.signal(number, leave) for number in answered}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
