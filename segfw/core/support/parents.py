"""Which process runs, and one that ends with another that started it: who was killed cannot tell its children."""

import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

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


@functools.cache  # once for a process that does one job after another
def terminate_after(pid: int, started: str, patience: float = 10.0) -> None:
    """Send this process SIGTERM soon after the process `pid` that started at `started` is gone; at last, end it."""

    def watch() -> None:
        while started_at(pid) == started:
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience)
        os._exit(EXIT_AFTER_SIGTERM)

    threading.Thread(target=watch, name=f"watch of process {pid}", daemon=True).start()


def started_at(pid: int) -> str:
    """Return when process `pid` started, in the kernel's ticks; tells a reused number from the owner.

    '' if none runs: one that has ended, but that its parent has not yet asked about, does not.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except OSError:
        return "running"
    return "running"
