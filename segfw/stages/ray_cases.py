"""Cases on a Ray cluster: the same function and arguments that the processes of this machine are given.

Nodes share the file system: data and outputs lie under the same paths everywhere, and segfw is installed on each.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from segfw.core.settings.schema import ExecutorSettings
from segfw.core.support.words import counted
from segfw.stages.outcome import Failure, Outcome
from segfw.stages.ray_cluster import cancel, connected, go_to, num_of

A = TypeVar("A")
R = TypeVar("R")

IN_FLIGHT_PER_CORE = 2
"""So that no core waits for this process, and no more cases than that are held in memory for the cluster."""


def in_cluster(
    work: Callable[[A], Outcome[R]], cases: Mapping[str, A], settings: ExecutorSettings, case_bytes: float = 0.0
) -> Iterator[tuple[str, Outcome[R]]]:
    """Yield outcomes as they come. A case whose node or process is lost is begun again `executor.retries` times.

    Only so many cases are under way as `executor.workers` says, or the cluster's cores keep busy; with `case_bytes`
    Ray also begins none on a node whose memory the cases there have been promised.
    """
    ray = connected(settings)
    needs: dict[str, Any] = {"num_cpus": 1, "max_retries": settings.retries}
    if case_bytes:
        needs["memory"] = int(case_bytes)
    remote = ray.remote(**needs)(_work_in)
    limit = settings.workers or max(1, IN_FLIGHT_PER_CORE * num_of(ray, "CPU"))
    waiting: dict[Any, str] = {}
    left = iter(cases.items())
    shared, folder = ray.put(work), os.getcwd()
    try:
        while True:
            for case, item in islice(left, limit - len(waiting)):
                waiting[remote.options(name=f"segfw {case}").remote(folder, shared, item)] = case
            if not waiting:
                return
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(ready), _outcome(ray, ready, settings.retries)
    finally:
        cancel(ray, list(waiting))


def _work_in(folder: str, work: Callable[[A], Outcome[R]], item: A) -> Outcome[R]:
    """Do one case where relative paths mean what they meant to the command."""
    go_to(folder)
    return work(item)


def _outcome(ray: Any, reference: Any, retries: int) -> Outcome[Any]:
    try:
        found: Outcome[Any] = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        lost = f"its process on the cluster was lost {counted(retries + 1, 'time')} ({type(error).__name__}: {reason})"
        return Outcome(failure=Failure(f"{lost}, often for lack of memory: try a smaller executor.workers="))
    return found
