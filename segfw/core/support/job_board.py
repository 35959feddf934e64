"""A folder in which the jobs of one command say how they stand, wherever they run: a small file for each.

A job that is killed says nothing more: its file still tells that it runs, while its process is gone.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from segfw.core.errors import SegfwError
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import write_text
from segfw.core.support.parents import started_at

POLL_SECONDS = 0.5
BEGAN = "began"


@dataclass(frozen=True)
class Posting:
    """How a job stands: its number, its own overrides, the name of its runs, its log, and where its process runs."""

    number: int
    overrides: tuple[str, ...]
    name: str
    log: str
    state: Literal["running", "done", "failed"] = "running"
    message: str = ""
    status: int = 0
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started: str = field(default_factory=lambda: started_at(os.getpid()))

    @property
    def is_here(self) -> bool:
        """Whether it runs, in a process of this computer that is not this one."""
        here = self.host == socket.gethostname() and self.pid != os.getpid()
        return self.state == "running" and here and started_at(self.pid) == self.started


def make_board(board: Path) -> None:
    """Make the folder; its jobs begin after this."""
    write_text(board / BEGAN, "")


def post(board: Path, posting: Posting) -> None:
    """Put up how a job stands, in place of what it said before."""
    write_text(board / f"{posting.number}.json", json.dumps(to_plain(posting)))


def read_board(board: Path) -> list[Posting]:
    """Return what every job that has begun said last, by number; a file that cannot be read is left out."""
    postings = []
    for path in board.glob("*.json"):
        try:
            postings.append(from_plain(Posting, json.loads(path.read_text(encoding="utf-8")), str(path)))
        except (OSError, ValueError, SegfwError):
            continue
    return sorted(postings, key=lambda posting: posting.number)


def wait_for_jobs(board: Path) -> None:
    """Return when no job runs on this computer any more."""
    while any(posting.is_here for posting in read_board(board)):
        time.sleep(POLL_SECONDS)


def end_jobs(board: Path, patience: float = 30.0) -> None:
    """End every job of this computer: in order, with SIGTERM; what still runs after `patience` seconds, at once."""
    running = [posting for posting in read_board(board) if posting.is_here]
    _signal(running, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while any(posting.is_here for posting in running) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    _signal(running, signal.SIGKILL)


def _signal(postings: Sequence[Posting], number: signal.Signals) -> None:
    for posting in postings:
        if posting.is_here:
            os.kill(posting.pid, number)
