"""Commands that start at once: a process that has loaded the program forks one for each command line it is given.

Loading the program takes most of a short command's time, in which a kill costs nothing: it would be killed there again
and again. A forked command ends as any other does, through Python's own way out.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.soaking import quick

LOADED = (
    "segfw.stages.trainings.train",
    "segfw.stages.selection.select",
    "segfw.stages.reporting.report",
    "segfw.stages.prediction.predict",
    "segfw.stages.preprocess",
    "segfw.stages.plan",
    "segfw.stages.plan_table",
    "matplotlib.pyplot",
)
POLL = 0.01


class Nursery:
    """The process that forks; one command at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )

    def start(self, words: Sequence[str], output: Path, environment: Mapping[str, str]) -> "Forked":
        """Begin `python -m segfw words` with its output in a file, in a session of its own."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([list(words), str(output), dict(environment)]) + "\n")
        self._process.stdin.flush()
        return Forked(self.answer(), self)

    def answer(self) -> int:
        """Return the next number that the process says: of a process that begins, then its status."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Forked:
    """A command from the nursery, with what is used of `subprocess.Popen`."""

    def __init__(self, pid: int, nursery: Nursery) -> None:
        self.pid, self._nursery = pid, nursery
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its status, None while it runs."""
        if self.returncode is None and not _runs(self.pid):
            self.returncode = self._nursery.answer()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its status once it has ended; `subprocess.TimeoutExpired` if it does not."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("segfw", timeout or 0)
            time.sleep(POLL)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _fork(words: list[str], output: str, environment: dict[str, str]) -> bool:
    """Fork a command and wait for its end; True in the command itself."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, place in ((0, null), (1, file), (2, file)):
            os.dup2(place, number)
        os.environ.update(environment)
        sys.argv[1:] = words
        return True
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return False


def main() -> int:
    """Be the nursery, or a command that it has forked."""
    for name in LOADED:
        importlib.import_module(name)
    while line := sys.stdin.readline():
        request: list[Any] = json.loads(line)
        if _fork(request[0], request[1], request[2]):
            return quick.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
