"""A folder of cases segmented on a Ray cluster, by a task for each device, wherever in the cluster it is.

The tasks take cases as commands that share an output folder do, by lock files beside the segmentations: what a task had
that is lost with its node is free again when its lock expires, and Ray begins the task anew elsewhere.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from segfw.core.errors import DeviceError, SegfwError, UsageError
from segfw.core.settings.schema import ExecutorSettings
from segfw.core.support.attempts import Attempt, attempt
from segfw.stages.prediction.claims import CaseList
from segfw.stages.prediction.devices import Order, open_predictor
from segfw.stages.prediction.flow import Outcome, segment_cases
from segfw.stages.ray_cluster import cancel, connected, environment_of, go_to, num_nodes, num_of

Tell = Callable[[Outcome], None]


@dataclass(frozen=True)
class ClusterPlaces:
    """How many tasks there are, and what each takes of the cluster; `threads`: of PyTorch on a CPU."""

    ray: Any
    tasks: int
    cards: int
    threads: int

    @property
    def description(self) -> str:
        """The places in words."""
        each = "a graphics card" if self.cards else f"{self.threads} core{'s' * (self.threads > 1)}"
        return f"{self.tasks} x {each} of a Ray cluster"


def choose_cluster_places(
    settings: ExecutorSettings, accelerator: str, devices: int | str | tuple[int, ...], threads: int | None
) -> ClusterPlaces:
    """Return where in the cluster cases are segmented: on `devices` graphics cards, or as many shares of its cores.

    `auto` takes all cards, without any one share a node. Raises `DeviceError` when there are not so many, `UsageError`
    for what a cluster does not number.
    """
    if isinstance(devices, tuple):
        raise UsageError(f"devices={list(devices)}: a cluster's devices have no numbers; give how many, or auto")
    ray = connected(settings)
    cards, cores = num_of(ray, "GPU"), num_of(ray, "CPU")
    on_cards = accelerator in ("gpu", "cuda") or (accelerator == "auto" and cards > 0)
    tasks = int(devices) if devices != "auto" else cards if on_cards else num_nodes(ray)
    if on_cards and tasks > cards:
        raise DeviceError(f"devices={devices} asks for {max(tasks, 1)} graphics cards, the cluster has {cards}")
    share = threads or max(1, cores // max(1, tasks))
    if not on_cards and tasks * share > cores:
        raise DeviceError(
            f"devices={devices} with threads={share} asks for {tasks * share} cores, the cluster has {cores}"
        )
    return ClusterPlaces(ray, tasks, int(on_cards), share)


def segment_in_cluster(
    order: Order, places: ClusterPlaces, settings: ExecutorSettings, cases: CaseList, tell: Tell
) -> None:
    """Share `cases` among tasks and `tell` of each case once, also of those that none was left to segment.

    Raises what opening the model raised where no task could do that.
    """
    ray = places.ray
    needs = {"num_cpus": 1 if places.cards else places.threads, "num_gpus": places.cards}
    environment = {"env_vars": environment_of(places.threads)}
    task = ray.remote(num_returns="streaming", max_retries=settings.retries, runtime_env=environment, **needs)(_segment)
    open_ones = [task.remote(os.getcwd(), order, places.threads, cases) for _ in range(places.tasks)]
    left = set(cases.waiting)
    refusals: list[SegfwError] = []
    reasons: list[str] = []
    try:
        while open_ones:
            (ready, *_), _ = ray.wait(open_ones, num_returns=1)
            try:
                said = ray.get(next(ready))
            except StopIteration:
                open_ones.remove(ready)
                continue
            except ray.exceptions.RayError as error:
                open_ones.remove(ready)
                reasons.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
                continue
            if isinstance(said, SegfwError):
                refusals.append(said)
            elif said.name in left:
                left.discard(said.name)
                tell(said)
    finally:
        cancel(ray, open_ones)
    if len(refusals) == places.tasks:
        raise refusals[0]
    for name in cases.left_of(left):
        tell(Outcome(name, failure="; ".join(["no task of the cluster was left to segment it", *sorted(set(reasons))])))


def _segment(folder: str, order: Order, threads: int, cases: CaseList) -> Iterator[Outcome | SegfwError]:
    """Yield what becomes of cases, as it does; of a model that cannot be opened, the error alone."""
    go_to(folder)
    try:
        predictor = open_predictor(order.model, order.accelerator, threads, order.overrides)
    except SegfwError as error:
        yield error
        return
    said: queue.Queue[Outcome | None] = queue.Queue()

    def tell(outcome: Outcome) -> None:
        cases.give_back(outcome.name)
        said.put(outcome)

    ended: list[Attempt[None]] = []

    def work() -> None:
        ended.append(attempt(partial(segment_cases, predictor, cases.take, tell), BaseException))
        said.put(None)

    threading.Thread(target=work, name="prediction", daemon=True).start()
    try:
        while (outcome := said.get()) is not None:
            yield outcome
    finally:
        cases.close()  # of a task that is cancelled
    ended[0].result()
