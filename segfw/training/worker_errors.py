"""What a user is told when a process that cuts patches fails: its own words, or what ended it, and the way out."""

import logging
import os
import re
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from segfw.core.errors import JobError, SegfwError
from segfw.core.support.attempts import attempt, on_error
from segfw.core.support.host_memory import available_memory
from segfw.data.sampling import Batch, Key, Sample
from segfw.training.epoch_cost import Waits

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
LONGEST_SOCKET_NAME = 103
"""Bytes; Linux allows 107, macOS 103."""
SOCKET_IN_FOLDER = "/pymp-12345678/listener-12345678"
"""What `multiprocessing` puts behind the temporary folder's name."""
PREFETCH = 2
"""Batches that each worker cuts ahead."""
BROKEN = (ConnectionError, EOFError, FileNotFoundError)
"""What is raised where a batch is taken from a worker that has ended."""
_KILLED = re.compile(r"DataLoader worker \(pid (\d+)\) is killed by signal: ([^.]*)")
_GONE = re.compile(r"DataLoader worker \(pid\(s\) ([\d, ]+)\) exited unexpectedly|worker \(pid (\d+)\) exited")


@dataclass(frozen=True)
class Failure:
    """An exception of a worker. `expected`: one whose message is meant for the user."""

    error: str
    trace: str
    expected: SegfwError | None


class Batches(Protocol):
    """Patches that can be asked for by the batch."""

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return the patches that `keys` name."""


class Guarded(Dataset[Sample]):
    """Patches of `patches` as batches; a failure is returned rather than raised, so that its own words reach the user.

    PyTorch would put the worker's traceback into the message of a new exception.
    """

    def __init__(self, patches: Batches) -> None:
        self.patches = patches

    def __getitems__(self, keys: Sequence[Key]) -> Batch | Failure:
        """Return the batch of `keys`, or why there is none."""
        cut = attempt(partial(self.patches.__getitems__, keys))
        if cut.error is None:
            return cut.result()
        error, trace = cut.error, "".join(traceback.format_exception(cut.error))
        expected = error if isinstance(error, SegfwError) else None
        return Failure(f"{type(error).__name__}: {error}{_notes(error)}", trace, expected)

    def __getitem__(self, key: Key) -> Any:
        return self.__getitems__([key])


def collate_or_fail(collate: Callable[[Any], Batch], samples: Any) -> Batch | Failure:
    """Make a batch of samples, but let a failure pass as it is."""
    return samples if isinstance(samples, Failure) else collate(samples)


def refuse_long_temporary_folder(folder: str) -> None:
    """Raise `JobError` if sockets in the temporary folder would have longer names than the system allows.

    Workers hand batches over by them; PyTorch drops a batch that cannot be handed over, and waits for it for ever.
    """
    length, most = len(os.fsencode(folder)), LONGEST_SOCKET_NAME - len(SOCKET_IN_FOLDER)
    if length > most:
        raise JobError(
            f"the temporary folder {folder} has a name of {length} bytes, but processes that cut patches need one of "
            f"at most {most}: set TMPDIR to a shorter one (TMPDIR=/tmp), or data.workers=0"
        )


class PatchLoader(DataLoader[Sample]):
    """A loader that raises what a worker returned as its failure, and notes in `waits` how long batches take."""

    waits: Waits | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.num_workers:
            refuse_long_temporary_folder(tempfile.gettempdir())
        batches = super().__iter__()
        with on_error(partial(_end_workers, batches)):
            for batch in batches if self.waits is None else self.waits.timed(batches):
                if isinstance(batch, Failure):
                    raise_failure(batch)
                yield batch


def _end_workers(batches: Iterator[Any], error: BaseException) -> None:
    """End the processes behind `batches`; where `error` is about one that has ended, raise what PyTorch would."""
    try:
        unclear = isinstance(error, BROKEN) or _GONE.search(str(error))
        ended = find_ended(getattr(batches, "_workers", [])) if unclear else None
    finally:
        # PyTorch would raise anew, wherever the main process is, at every further process that ends.
        getattr(batches, "_shutdown_workers", lambda: None)()
    if ended is not None:
        raise RuntimeError(ended) from error


def find_ended(workers: Sequence[BaseProcess], patience: float = 5.0) -> str | None:
    """Say in PyTorch's words which worker has ended, None if none does within `patience` seconds.

    A worker that ends while it hands over a batch breaks the connection before PyTorch sees that it has ended, and one
    that is found gone before the system has told PyTorch of its end is not asked what ended it.
    """
    ending = wait([worker.sentinel for worker in workers], patience)
    for worker in (worker for worker in workers if worker.sentinel in ending):
        worker.join(patience)  # its files are closed a moment before it can be asked how it ended
        code = worker.exitcode
        if code is not None and code < 0:
            return f"DataLoader worker (pid {worker.pid}) is killed by signal: {signal.strsignal(-code)}."
        if code is not None:
            return f"DataLoader worker (pid(s) {worker.pid}) exited unexpectedly"
    return None


def raise_failure(failure: Failure) -> None:
    """Raise a worker's failure in this process; its traceback goes to the log."""
    log.info("a process that cuts patches failed:\n%s", failure.trace.rstrip())
    if failure.expected is not None:
        raise failure.expected
    raise JobError(
        f"a process that cuts patches failed: {failure.error}; its traceback is in the log. "
        f"With data.workers=0 the patches are cut in the main process, where a debugger can follow"
    )


def _notes(error: BaseException) -> str:
    return "".join(f" ({note})" for note in getattr(error, "__notes__", ()))


@contextmanager
def explained_worker_deaths(shared_memory: Path = SHARED_MEMORY) -> Iterator[None]:
    """Turn PyTorch's error about a worker that has ended into a `JobError` that says what ended it and what helps.

    PyTorch raises it wherever the main process happens to be.
    """
    try:
        yield
    except RuntimeError as error:
        message = explain_death(f"{error.__cause__ or ''} {error}", shared_memory)  # what killed it is the cause
        if message is None:
            raise
        raise JobError(message) from error


def explain_death(text: str, shared_memory: Path = SHARED_MEMORY) -> str | None:
    """Return what to tell of a worker's end, None if `text` is about something else."""
    killed, gone = _KILLED.search(text), _GONE.search(text)
    free = f"{available_memory() / 1e9:.1f} GB of memory are free now"
    if killed is not None and killed[2] == "Bus error":
        space = _free_space(shared_memory)
        return (
            f"a process that cuts patches (pid {killed[1]}) was ended by the signal Bus error: shared memory ran out "
            f"({space}). Docker: start the container with --shm-size=8g or --ipc=host; or lower data.workers (0: none)"
        )
    if killed is not None:
        cause = ", which is how the system ends processes when memory is short" if killed[2] == "Killed" else ""
        return (
            f"a process that cuts patches (pid {killed[1]}) was ended by the signal {killed[2]}{cause}; {free}. "
            f"Lower data.workers (0 works in the main process), or stop what else takes memory"
        )
    if gone is not None:
        return (
            f"a process that cuts patches (pid {gone[1] or gone[2]}) ended by itself without an exception; {free}. "
            f"Lower data.workers (0 works in the main process)"
        )
    return None


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB are free in {folder}"
    except OSError:
        return f"{folder} cannot be looked at"


def workers_that_fit(asked: int | None, workers: int, batch_bytes: int, shared_memory: Path = SHARED_MEMORY) -> int:
    """Return how many workers shared memory has room for: batches pass through it, and without room they never arrive.

    Fewer than chosen is said in a warning; `JobError` if as many were `asked` for.
    """
    if not workers or not shared_memory.is_dir() or os.name != "posix":
        return workers
    usage = shutil.disk_usage(shared_memory)
    fitting = int(usage.free // ((PREFETCH + 1) * max(1, batch_bytes)))
    if fitting >= workers:
        return workers
    found = (
        f"{workers} processes that cut patches need {workers * (PREFETCH + 1) * batch_bytes / 1e6:.0f} MB of shared "
        f"memory, {usage.free / 1e6:.0f} MB are free in {shared_memory}"
    )
    fix = "Docker: start the container with --shm-size=8g or --ipc=host"
    if asked is not None:
        raise JobError(f"{found}. {fix}; or set data.workers={fitting}")
    log.warning("%s; %d are used. %s", found, fitting, fix)
    return fitting
