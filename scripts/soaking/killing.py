"""Starting a command, killing it at a chosen moment, and seeing to it that nothing of it goes on."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.soaking.nursery import Nursery
from scripts.soaking.works import Work

MARK = "SEGFW_SOAK"
"""A variable by which processes of a command are found that have left its session."""
POLL = 0.02
PATIENCE = 40.0  # seconds to end in order
CHILDREN = 10.0  # seconds for what a killed command had started
LIMIT = 600.0  # seconds for a command that nobody kills


@dataclass(frozen=True)
class Manner:
    """How a command is killed: the signal, whether all of its processes get it, and how often."""

    number: signal.Signals
    all: bool = False
    times: int = 1

    @property
    def name(self) -> str:
        """The manner in words."""
        return self.number.name + (" to all" if self.all else "") + (" twice" if self.times > 1 else "")


MANNERS = (
    Manner(signal.SIGKILL),
    Manner(signal.SIGTERM),
    Manner(signal.SIGINT, all=True),
    Manner(signal.SIGKILL, all=True),
    Manner(signal.SIGTERM, all=True),
    Manner(signal.SIGINT, all=True, times=2),
)
"""Out of memory, `kill`, Ctrl-C, a computer that goes down, `scancel`, and somebody who is impatient."""


@dataclass(frozen=True)
class Moment:
    """When: `seconds` after a stage has begun, or a later one where that is left out; 0: the process'."""

    stage: int
    seconds: float


@dataclass(frozen=True)
class Ended:
    """How a command ended. `stage`: the number of the one in which it was killed, None where it was faster."""

    status: int
    stage: int | None
    seconds: float
    said: str
    left: tuple[str, ...] = ()
    hung: bool = False


class Running:
    """A command under way, its output in a file."""

    def __init__(self, work: Work, output: Path, nursery: Nursery | None) -> None:
        self.work = work
        self._folder = tempfile.TemporaryDirectory(prefix="soak-")
        self._token = uuid.uuid4().hex
        self._path = Path(self._folder.name) / "said"
        self._path.touch()
        added = {MARK: self._token, "PYTHONFAULTHANDLER": "1", "TMPDIR": self._folder.name}
        words = work.words_for(output)
        self.process = (
            _started(words, self._path, added) if nursery is None else nursery.start(words, self._path, added)
        )

    @property
    def said(self) -> str:
        """All that it has said."""
        return self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""

    @property
    def stage(self) -> int:
        """The stage that it has begun last."""
        return ([0, *self.work.stages_of(self.said.splitlines())])[-1]

    def reached(self, stage: int) -> bool:
        """Whether it has begun this stage or a later one."""
        return stage == 0 or any(number >= stage for number in self.work.stages_of(self.said.splitlines()))

    def send(self, number: signal.Signals, to_all: bool) -> None:
        """Send a signal to the process, or to its group, as a terminal does."""
        if to_all and self.process.poll() is None:
            os.killpg(self.process.pid, number)
        elif not to_all:
            self.process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Return whether it ends within so many seconds."""
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def others(self) -> list[str]:
        """Return what still runs of all that it has started, a line each."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                marked = f"{MARK}={self._token}".encode() in (folder / "environ").read_bytes()
                own = marked or int(session) == self.process.pid
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if own and state not in "ZX" and int(folder.name) != self.process.pid:
                found.append(f"{folder.name} {words}")
        return found

    def close(self) -> None:
        """End whatever is left of it."""
        for line in [*([str(self.process.pid)] if self.process.poll() is None else []), *self.others()]:
            try:
                os.kill(int(line.split()[0]), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self._folder.cleanup()


def _started(words: Sequence[str], said: Path, added: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Begin a command as a user does, in a session of its own."""
    with said.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.soaking.quick", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **added},
        )


@contextmanager
def running(work: Work, output: Path, nursery: Nursery | None = None) -> Iterator[Running]:
    """Run a command for the block, and nothing of it longer."""
    command = Running(work, output, nursery)
    try:
        yield command
    finally:
        command.close()


def completed(work: Work, output: Path, nursery: Nursery | None = None) -> Ended:
    """Run a command to its end."""
    begun = time.monotonic()
    with running(work, output, nursery) as command:
        hung = not command.wait(LIMIT)
        if hung:
            _tell_where(command)
        return Ended(command.process.wait(), None, time.monotonic() - begun, command.said, (), hung)


def killed(
    work: Work, output: Path, moment: Moment, manner: Manner, pause: float = 0.3, nursery: Nursery | None = None
) -> Ended:
    """Begin a command and kill it; `pause`: seconds between two signals. `seconds` are those from the first to its end.

    What it has started may take a little longer to end than itself; what is left after that is `left`.
    """
    with running(work, output, nursery) as command:
        while not command.reached(moment.stage):
            if command.wait(POLL):
                return Ended(command.process.wait(), None, 0.0, command.said, ())
        if command.wait(moment.seconds):
            return Ended(command.process.wait(), None, 0.0, command.said, ())
        stage, begun = command.stage, time.monotonic()
        command.send(manner.number, manner.all)
        for _ in range(manner.times - 1):
            if not command.wait(pause):
                command.send(manner.number, manner.all)
        hung = not command.wait(PATIENCE)
        seconds = time.monotonic() - begun
        if hung:
            _tell_where(command)
        while (left := command.others()) and time.monotonic() - begun < seconds + CHILDREN:
            time.sleep(POLL)
        return Ended(command.process.wait(), stage, seconds, command.said, tuple(left), hung)


def _tell_where(command: Running) -> None:
    """Let a command that does not end say where each of its threads is, and end it."""
    command.send(signal.SIGABRT, to_all=False)
    command.wait(CHILDREN)
    command.send(signal.SIGKILL, to_all=True)
