"""Work that goes case by case: in-line, in processes of this machine or on a Ray cluster, with progress by case.

The function and its arguments are plain, picklable values, so that the same function runs anywhere. A case that fails,
or whose process is killed, is reported with its own reason at the end; the others are finished first.
"""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segfw.core.errors import JobError
from segfw.core.settings.schema import ExecutorSettings
from segfw.core.support.attempts import attempt
from segfw.core.support.cpu import THREADS, available_cores
from segfw.core.support.host_memory import available_memory, peak_memory
from segfw.core.support.repeating import repeating
from segfw.core.support.words import counted, in_words
from segfw.stages.outcome import Failure, Outcome, failure_of
from segfw.stages.ray_cases import in_cluster

log = logging.getLogger(__name__)
A = TypeVar("A")
R = TypeVar("R")

MIN_CASES_PER_WORKER = 4
"""Below this a process costs more to start than it saves."""

MEMORY_SHARE = 0.8
"""Of the free memory, what workers may fill by the estimate."""

WATCH_SECONDS = 0.5
LEAST_SECONDS, MOST_SECONDS = 5.0, 60.0
"""Between two lines on how many cases are done."""

LOADED_AT_ONCE = ("segfw.__main__", "segfw.stages.fingerprint", "segfw.stages.preparation")
"""Loading these takes a second of processor time, which each process would take by itself; PyTorch is not among it."""


def run_cases(
    function: Callable[[A], R], cases: Mapping[str, A], settings: ExecutorSettings, title: str, case_bytes: float = 0.0
) -> dict[str, R]:
    """Return {name: function(argument)} for the {name: argument} of `cases`.

    Raises `JobError` that lists every case that failed and why, once the others are done. `case_bytes`: the memory that
    the largest case takes, from which processes are chosen. `function` must be picklable (a module-level function or a
    partial of one).
    """
    done: dict[str, R] = {}
    failed: dict[str, str] = {}
    work = partial(_attempt, function)
    outcomes = _outcomes(work, cases, settings, case_bytes)
    with _progress(title, len(cases)) as advance:
        for case, outcome in outcomes:
            if outcome.failure is None:
                done[case] = outcome.result  # type: ignore[assignment]  # None only where R allows it
            else:
                failed[case] = outcome.failure.reason
                log.error("%s: %s", case, "\n".join(filter(None, (outcome.failure.reason, outcome.failure.trace))))
            advance(case)
    if failed:
        rows = "\n".join(f"  {case}: {why}" for case, why in sorted(failed.items()))
        raise JobError(f"{title}: {len(failed)} of {counted(len(cases), 'case')} failed, the others are done:\n{rows}")
    return {case: done[case] for case in cases}


def _outcomes(
    work: Callable[[A], Outcome[R]], cases: Mapping[str, A], settings: ExecutorSettings, case_bytes: float
) -> Iterator[tuple[str, Outcome[R]]]:
    if settings.name == "ray" and cases and settings.workers != 0:
        return in_cluster(work, cases, settings, case_bytes)
    count = choose_processes(settings.workers, len(cases), case_bytes)
    if count < 1:
        return ((case, work(item)) for case, item in cases.items())
    return _in_processes(work, cases, count)


def choose_processes(workers: int | None, num_cases: int, case_bytes: float = 0.0) -> int:
    """Return how many processes share `num_cases`; 0 for none. `workers`: what was asked for, None to choose.

    Chosen from the cores, the cases and, with `case_bytes`, the free memory, which is said where it is what limits.
    """
    if workers is not None:
        return min(workers, num_cases)
    count = min(available_cores(), num_cases // MIN_CASES_PER_WORKER)
    free = available_memory()
    if case_bytes and count > (fitting := max(1, int(free * MEMORY_SHARE // case_bytes))):
        log.info(
            "%d instead of %d processes: a case may take %.1f GB, %.1f GB are free (executor.workers= overrules)",
            *(fitting, count, case_bytes / 2**30, free / 2**30),
        )
        return fitting
    return count


def _attempt(function: Callable[[A], R], item: A) -> Outcome[R]:
    """Do one case; whatever goes wrong with it, the others shall go on."""
    done = attempt(partial(function, item))
    if done.error is None:
        return Outcome(result=done.result())
    failure = failure_of(done.error)
    if failure.trace:
        held = f"its process held up to {peak_memory(os.getpid()) / 2**30:.1f} GB"
        failure = replace(failure, reason=f"{failure.reason} ({held}; the traceback is in the log)")
    return Outcome(failure=failure)


def _in_processes(
    work: Callable[[A], Outcome[R]], cases: Mapping[str, A], count: int
) -> Iterator[tuple[str, Outcome[R]]]:
    """Yield outcomes as they come. A process that is killed takes only its own case with it, and is replaced."""
    pool = ProcessPool(count, initializer=_begin_worker, context=_forked_from_a_server())
    try:
        waiting: dict[Future[Outcome[R]], str] = {
            pool.schedule(work, args=(item,)): case for case, item in cases.items()
        }
        with _peaks_of_processes() as peaks:
            for future in as_completed(waiting):
                try:
                    outcome = future.result()
                except ProcessExpired as error:
                    outcome = Outcome(failure=Failure(_killed(error, peaks.get(error.pid, 0), count)))
                yield waiting[future], outcome
    finally:
        pool.stop()
        pool.join()


def _killed(error: ProcessExpired, peak: int, count: int) -> str:
    ended = f"was killed by signal {-error.exitcode}" if error.exitcode < 0 else f"ended with status {error.exitcode}"
    held = f" when it held {peak / 2**30:.1f} GB" if peak else ""
    return (
        f"its process {ended}{held} ({available_memory() / 2**30:.1f} GB are free now; signal 9 is often the system's "
        f"answer to a lack of memory: try executor.workers={count // 2})"
    )


@contextmanager
def _peaks_of_processes() -> Iterator[dict[int, int]]:
    """Note the most memory that each of our processes has held, while the block runs."""
    peaks: dict[int, int] = {}

    def look() -> None:
        for process in multiprocessing.active_children():
            if process.pid is not None:
                peaks[process.pid] = max(peaks.get(process.pid, 0), peak_memory(process.pid))

    with repeating(look, WATCH_SECONDS, "memory watch"):
        yield peaks


def _forked_from_a_server() -> BaseContext:
    """Return a context whose processes come, ready, from one that has loaded what they need, once for every pool.

    They are kept to one thread of linear algebra each, as they fill the cores; it counts what numpy finds when loaded.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED_AT_ONCE))
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        forkserver.ensure_running()
    finally:
        for name in THREADS:
            del os.environ[name]
        os.environ.update(before)
    return context


def _begin_worker() -> None:
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone: one that was killed cannot tell its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar with the last case's name on a terminal; elsewhere log a line now and then (see `Lines`)."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn(title),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[case]}"),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(title, total=total, case="")
            yield lambda case: bar.update(task, advance=1, case=case)
        return
    yield Lines(title, total).advance


class Lines:
    """Logs how many of `total` cases are done and how long the others take, by the speed of those done here.

    A line a minute, or more where a tenth of the cases takes less, but none within `LEAST_SECONDS` of another, and none
    for the last case: what ends the stage has a line of its own.
    """

    def __init__(self, title: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._total, self._clock = title, total, clock
        self._done = self._told_done = 0
        self._begun = self._told = clock()

    def advance(self, case: str) -> None:
        """Take note that `case` is done."""
        self._done += 1
        now = self._clock()
        waited, more = now - self._told, self._done - self._told_done
        if self._done == self._total or waited < LEAST_SECONDS:
            return
        if waited < MOST_SECONDS and 10 * more < self._total:
            return
        self._told, self._told_done = now, self._done
        left = (now - self._begun) / self._done * (self._total - self._done)
        log.info("%s %d/%d (%s), %s left", self._title, self._done, self._total, case, in_words(left))
