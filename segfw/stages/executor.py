"""Work that goes case by case: in-line or in processes of this machine, with progress by the case's name.

The function and its arguments are plain, picklable values, so that the same function runs anywhere. A case that fails
is reported with its own reason at the end; the others are finished first.
"""

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segfw.core.cpu import available_cores
from segfw.core.errors import JobError, SegfwError

log = logging.getLogger(__name__)
A = TypeVar("A")
R = TypeVar("R")

MIN_CASES_PER_WORKER = 4
"""Below this a process costs more to start than it saves."""


WATCH_SECONDS = 1.0
KILLED = (
    "its process was killed or could not go on (often the system's answer to a lack of memory); "
    "the finished cases are kept, try executor.workers={}"
)


def run_cases(function: Callable[[A], R], cases: Mapping[str, A], workers: int | None, title: str) -> dict[str, R]:
    """Return {name: function(argument)} for the {name: argument} of `cases`.

    Raises `JobError` that lists every case that failed and why, once the others are done. `workers`: processes, 0 for
    none, None to choose. `function` must be picklable (a module-level function or a partial of one).
    """
    count = choose_processes(workers, len(cases))
    done: dict[str, R] = {}
    failed: dict[str, str] = {}
    outcomes = _in_line(function, cases) if count < 1 else _in_processes(function, cases, count)
    with _progress(title, len(cases)) as advance:
        for case, outcome in outcomes:
            if isinstance(outcome, SegfwError):
                failed[case] = str(outcome)
                log.error("%s: %s", case, outcome)
            else:
                done[case] = outcome
            advance(case)
    if failed:
        rows = "\n".join(f"  {case}: {why}" for case, why in sorted(failed.items()))
        raise JobError(f"{title}: {len(failed)} of {len(cases)} cases failed, the others are done:\n{rows}")
    return {case: done[case] for case in cases}


def choose_processes(workers: int | None, num_cases: int) -> int:
    """Return how many processes share `num_cases`; 0 for none. `workers`: what was asked for, None to choose."""
    return min(available_cores(), num_cases // MIN_CASES_PER_WORKER) if workers is None else min(workers, num_cases)


def _in_line(function: Callable[[A], R], cases: Mapping[str, A]) -> Iterator[tuple[str, R | SegfwError]]:
    for case, argument in cases.items():
        try:
            yield case, function(argument)
        except SegfwError as error:
            yield case, error


def _in_processes(
    function: Callable[[A], R], cases: Mapping[str, A], count: int
) -> Iterator[tuple[str, R | SegfwError]]:
    """Yield outcomes as they come. A killed process takes the pool with it: the cases left are named as not done."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker, initargs=(os.getpid(),)) as pool:
        waiting: dict[Future[R], str] = {pool.submit(function, item): case for case, item in cases.items()}
        try:
            for future in as_completed(waiting):
                try:
                    yield waiting[future], future.result()
                except SegfwError as error:
                    yield waiting[future], error
                except BrokenProcessPool:
                    yield waiting[future], JobError(KILLED.format(count // 2))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(parent: int) -> None:
    """Keep a process to one thread of linear algebra, as the processes fill the cores, and let it end with us."""
    threading.Thread(target=_end_with, args=(parent,), name="parent watch", daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: one that was killed cannot tell its workers."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar with the last case's name on a terminal; elsewhere log a line at each tenth."""
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
    count = 0

    def advance(case: str) -> None:
        nonlocal count
        count += 1
        if count == total or count % max(1, total // 10) == 0:
            log.info("%s %d/%d (%s)", title, count, total, case)
            sys.stderr.flush()

    yield advance
