"""Cases on a Ray cluster of this machine: the same results, lost processes begun again, so many at once."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.settings.schema import ExecutorSettings
from segfw.stages import ray_cases, ray_cluster
from segfw.stages.executor import _attempt, run_cases

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")
ON_RAY = ExecutorSettings(name="ray", retries=1)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """End the cluster that the first call starts."""
    yield
    ray.shutdown()


def double(number: int) -> int:
    if number == 3:
        raise DataError("three is refused")
    return 2 * number


def die_once(folder: Path, name: str) -> str:
    """Kill this process at the first call for a name, and at each for `always`."""
    mark = folder / name
    if name != "fine" and (name == "always" or not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def note_company(folder: Path, name: str) -> int:
    """Return how many calls were under way during this one."""
    mark = folder / name
    mark.touch()
    time.sleep(0.3)
    seen = len(list(folder.iterdir()))
    mark.unlink()
    return seen


def where(_: int) -> tuple[str, str]:
    return os.getcwd(), os.environ["OMP_NUM_THREADS"]


def test_results_come_in_the_order_of_the_cases_and_failures_are_listed():
    assert list(run_cases(double, {"b": 1, "a": 2}, ON_RAY, "double").items()) == [("b", 2), ("a", 4)]
    with pytest.raises(JobError, match=r"1 of 2 cases failed, the others are done:\n  three: three is refused"):
        run_cases(double, {"one": 1, "three": 3}, ON_RAY, "double")
    with pytest.raises(JobError, match=r"bad: unexpected TypeError: .*; the traceback is in"):
        run_cases(double, {"bad": None}, ON_RAY, "double")


def test_a_lost_process_is_replaced_and_its_case_begun_again_so_many_times(tmp_path):
    work = partial(die_once, tmp_path)
    assert run_cases(work, {"once": "once", "fine": "fine"}, ON_RAY, "die") == {"once": "once", "fine": "fine"}
    with pytest.raises(JobError, match=r"always: its process on the cluster was lost 2 times \(WorkerCrashedError"):
        run_cases(work, {"always": "always", "fine": "fine"}, ON_RAY, "die")


def test_no_more_are_under_way_than_workers_says(tmp_path):
    names = {str(number): str(number) for number in range(4)}
    seen = run_cases(partial(note_company, tmp_path), names, ExecutorSettings(name="ray", workers=1), "note")
    assert set(seen.values()) == {1}


def test_relative_paths_mean_what_they_mean_here_and_processes_keep_to_one_thread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_cases(where, {"a": 0}, ON_RAY, "ask") == {"a": (str(tmp_path), "1")}


def test_an_address_where_nothing_answers_is_named(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: (_ for _ in ()).throw(ConnectionError(f"none at {address}")))
    with pytest.raises(JobError, match=r"used at executor\.address=auto \(.*RAY_AUTH_MODE=token.*none at"):
        ray_cluster.connected(ExecutorSettings(name="ray", address="auto"))
    with pytest.raises(JobError, match=r"used at executor\.address=127\.0\.0\.1:1 .*refused"):
        ray_cluster.connected(ExecutorSettings(name="ray", address="127.0.0.1:1"))


def test_without_ray_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "segfw\[ray\]"'):
        ray_cluster.connected(ON_RAY)


class LazyCluster:
    """Stands for Ray: remote calls wait until they are asked for, and the most that ever waited is counted."""

    class exceptions:
        RayError = RuntimeError

    def __init__(self, cores: int) -> None:
        self.cores, self.waiting, self.most, self.needs = cores, 0, 0, {}

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cores}

    def put(self, value: object) -> object:
        return value

    def remote(self, **needs: object):
        self.needs = needs
        return lambda function: Remote(self, function)

    def wait(self, references, num_returns, timeout=None):
        return [references[-1]], references[:-1]

    def get(self, reference):
        self.waiting -= 1
        return reference()


class Remote:
    """A function that runs when its result is asked for."""

    def __init__(self, cluster: LazyCluster, function) -> None:
        self.cluster, self.function = cluster, function

    def options(self, name: str) -> "Remote":
        return self

    def remote(self, *arguments: object):
        self.cluster.waiting += 1
        self.cluster.most = max(self.cluster.most, self.cluster.waiting)
        return partial(self.function, *arguments)


@pytest.mark.parametrize(("workers", "most"), [(None, 6), (2, 2)])
def test_of_many_cases_only_so_many_are_handed_to_the_cluster(monkeypatch, workers, most):
    lazy = LazyCluster(cores=3)
    monkeypatch.setattr(ray_cases, "connected", lambda settings: lazy)
    asked = []

    class Cases(dict):
        def items(self):
            return ((name, asked.append(name) or item) for name, item in super().items())

    numbers = {str(number): number for number in range(4, 504)}
    outcomes = ray_cases.in_cluster(
        partial(_attempt, double), Cases(numbers), ExecutorSettings(name="ray", workers=workers), 5e9
    )
    first = next(outcomes)
    assert len(asked) == most  # arguments, too, are not built ahead
    found = dict([first, *outcomes])
    assert {name: outcome.result for name, outcome in found.items()} == {n: 2 * item for n, item in numbers.items()}
    assert (lazy.most, lazy.waiting) == (most, 0)
    assert lazy.needs == {"num_cpus": 1, "max_retries": 3, "memory": 5_000_000_000}
