"""Steps that Ctrl-C and termination must not cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let what would interrupt the block wait until it has ended; in other than the main thread nothing does.

    For short steps only: a block that hangs could not be left.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    before = {number: signal.signal(number, lambda *received: arrived.append(received)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first, frame in arrived[:1]:
            handler = before[signal.Signals(first)]
            if callable(handler):
                handler(first, frame)
            else:
                signal.raise_signal(first)
