"""Several processes on this computer that train together, started and watched by torch's own launcher.

The launcher runs in a process of its own, so that the command that asked for it keeps clear of devices and process
groups: `python -m segfw.training.launch PARENT FOLDER PROCESSES MODULE ARGUMENT...`. It meets at a free port of this
host, ends all processes when one fails or PARENT is gone, and leaves in FOLDER what became of each.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch.distributed.elastic.multiprocessing.errors as torch_errors
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from segfw.core import errors
from segfw.core.errors import JobError, SegfwError
from segfw.core.support.conversion import to_plain
from segfw.core.support.parents import EXIT_AFTER_SIGTERM, leave_with_parent
from segfw.training.leaving import leave_warnings_to_the_main_process

log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

FAILURES = "failures.json"
PATIENCE = 45.0  # seconds to end in order; torch's launcher gives its processes 30 of them
KILLED = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS)
CONSEQUENCES = ("closed by peer", "reset by peer", "DistBackendError", "DistNetworkError", "DistStoreError")
"""Words of errors that a rank meets because another one is gone."""


def record_failure(function: F) -> F:
    """Decorate the function that a rank runs: what it raises is kept for the launcher."""
    return cast(F, torch_errors.record(function))


def is_consequence(error: str) -> bool:
    """Whether a rank met this because another one is gone."""
    return any(words in error for words in CONSEQUENCES)


@dataclass(frozen=True)
class Failure:
    """How a rank ended. `exitcode` below 0: by that signal; `time` in nanoseconds, as far as it left an error."""

    rank: int
    exitcode: int
    error: str = ""
    trace: str = ""
    time: int = sys.maxsize

    @property
    def was_ended(self) -> bool:
        """Whether SIGTERM has ended it, which the launcher sends to the ranks that are left."""
        return self.exitcode in (-signal.SIGTERM, EXIT_AFTER_SIGTERM)

    @property
    def order(self) -> tuple[bool, bool, int, int]:
        """Sorts the cause before its consequences: what was killed from outside, then who complained first.

        A status without an error tells less than an error, but more than that another rank is gone.
        """
        follows = is_consequence(self.error) if self.error else self.was_ended
        return (-self.exitcode not in KILLED, follows, self.time, self.rank)


def launch(module: str, arguments: Sequence[str], processes: int) -> None:
    """Run `python -m module LAUNCHER ARGUMENTS` in so many `processes`; each finds its rank in its environment.

    LAUNCHER is the process with which it has to leave.

    Raises what the rank that failed first has raised if that is a `SegfwError`, else `JobError`, its traceback being
    logged. Whatever ends the wait, Ctrl-C for one, ends the processes.
    """
    with tempfile.TemporaryDirectory(prefix="segfw-ranks-") as folder:
        command = [sys.executable, "-m", __name__, str(os.getpid()), folder, str(processes), module, *arguments]
        launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        with _ended_at_last(launcher):
            status = launcher.wait()
        if status:
            raise _explained(_read_failures(Path(folder)), processes, status)


@contextlib.contextmanager
def _ended_at_last(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        try:
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE)
        finally:
            process.kill()  # its processes end with it


def _read_failures(folder: Path) -> list[Failure]:
    try:
        plain = json.loads((folder / FAILURES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return sorted((Failure(**entry) for entry in plain), key=lambda failure: failure.order)


def _explained(failures: Sequence[Failure], processes: int, status: int) -> SegfwError:
    """Return the error of the rank that failed first, in the words of that rank."""
    again = "give the command again to go on from the last checkpoint"
    if not failures:
        return JobError(f"the launcher of {processes} processes ended with status {status}; {again}")
    first = failures[0]
    who = f"rank {first.rank} of {processes}"
    if first.trace:
        log.error("%s failed:\n%s", who, first.trace)
    if first.exitcode < 0 and not first.error:
        name = signal.Signals(-first.exitcode).name
        return JobError(
            f"{who} was killed by {name} (SIGKILL is often the system's answer to a lack of memory), the others were "
            f"ended; {again}"
        )
    kind, _, message = first.error.partition(": ")
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, SegfwError):
        return known(message)
    what = first.error or f"it ended with status {first.exitcode}"
    return JobError(f"{who} failed, the others were ended: {what}; {again}")


def main(parent: str, folder: str, processes: str, module: str, *arguments: str) -> int:
    """Be the launcher; return 0 if every process does."""
    leave_with_parent(int(parent), lambda: os.kill(os.getpid(), signal.SIGTERM))
    leave_warnings_to_the_main_process()
    logging.disable(logging.ERROR)  # the caller tells what went wrong
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=int(processes),
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=folder),
        local_addr="localhost",
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, str(os.getpid()), *arguments)
    except torch_errors.ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        failures = _failures(Path(folder), codes)
        (Path(folder) / FAILURES).write_text(json.dumps(to_plain(failures)), encoding="utf-8")
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _failures(folder: Path, codes: dict[int, int]) -> list[Failure]:
    """Join the exit codes that the launcher saw with the errors that the ranks left."""
    found = {rank: Failure(rank, code) for rank, code in codes.items()}
    for path in folder.glob("*/attempt_*/*/error.json"):
        rank = int(path.parent.name)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))["message"]
            error, trace = content["message"], content["extraInfo"]["py_callstack"]
        except (ValueError, KeyError, TypeError):
            continue
        found[rank] = Failure(rank, codes.get(rank, 1), error, trace, path.stat().st_mtime_ns)
    return list(found.values())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
