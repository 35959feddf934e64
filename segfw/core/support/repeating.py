"""What is done again and again, in a thread beside a block of work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(act: Callable[[], bool | None], seconds: float, name: str) -> Iterator[None]:
    """Call `act` every so many `seconds` while the block runs, or until it returns True; it has ended with the block.

    `name`: of the thread.
    """
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(seconds) and not act():
            pass

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
