"""A process that ends with the one that started it: a parent that was killed cannot tell its children."""

import os
import signal
import threading
import time
from collections.abc import Callable

WATCH_SECONDS = 0.5
EXIT_AFTER_SIGTERM = 128 + signal.SIGTERM
"""Status of a process that a SIGTERM has ended in order."""


def leave_with_parent(parent: int, leave: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Call `leave`, which ends this process, within a second after the process `parent` is gone.

    The parent tells its number: it may be gone before this process has come so far as to ask.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        leave()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
