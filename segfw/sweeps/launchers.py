"""Who starts the jobs of a multirun, Hydra's launchers: our defaults for them, their checks, and how many jobs run at
once.

The plugins register `hydra/launcher=joblib|submitit_local|submitit_slurm` and the types of their keys themselves.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from segfw.core.errors import UsageError
from segfw.core.support.conversion import nearest
from segfw.core.support.cpu import THREADS, available_cores

GROUP = "hydra/launcher"
BASIC, JOBLIB, LOCAL, SLURM = "basic", "joblib", "submitit_local", "submitit_slurm"
OPTIONAL_LAUNCHERS = (JOBLIB, LOCAL, SLURM)
KINDS = {"BasicLauncher": BASIC, "JoblibLauncher": JOBLIB, "LocalLauncher": LOCAL, "SlurmLauncher": SLURM}
DEFAULTS: dict[str, dict[str, Any]] = {
    LOCAL: {"timeout_min": 525_600},
    SLURM: {"timeout_min": 1440, "max_num_timeout": 100},
}
"""Where the plugins' own do not suit a training: they end it after an hour, and do not submit it again."""
AT_LEAST_ONE = (
    "timeout_min",
    "cpus_per_task",
    "tasks_per_node",
    "mem_gb",
    "nodes",
    "cpus_per_gpu",
    "gpus_per_task",
    "array_parallelism",
)
NOT_NEGATIVE = ("gpus_per_node", "signal_delay_s", "max_num_timeout")
CARDS = "CUDA_VISIBLE_DEVICES"
GIVE_CARDS = ("gpus_per_node", "gpus_per_task", "gres")


def register_defaults() -> None:
    """Lay our defaults over those that the plugins have registered; what a user gives comes after both."""
    Plugins.instance()  # finds the plugins, which register when they are imported
    store = ConfigStore.instance()
    there = store.list(GROUP)
    for launcher, values in DEFAULTS.items():
        if f"{launcher}.yaml" in there:
            registered = store.load(f"{GROUP}/{launcher}.yaml")
            for key, value in values.items():
                registered.node[key] = value
            store.store(launcher, registered.node, GROUP, registered.package, registered.provider)


def kind_of(target: str) -> str:
    """Return which launcher the class `target` is, under whatever name a file of the user's has chosen it."""
    return KINDS.get(target.rpartition(".")[2], target)


def lacks_cards(launcher: str, values: Mapping[str, Any]) -> bool:
    """Whether nobody has asked the cluster for graphics cards."""
    asked = any(values.get(key) for key in GIVE_CARDS)
    return launcher == SLURM and not asked and not values.get("additional_parameters")


def check_launcher_is_there(name: str, options: list[str]) -> None:
    """Raise `UsageError` with the line that installs the launcher `name` where it is one of the plugins'."""
    if name in OPTIONAL_LAUNCHERS and name not in options:
        raise UsageError(f'{GROUP}={name} needs a plugin of Hydra: pip install "segfw[sweep]"')


def check_launcher_key(launcher: str, key: str) -> None:
    """Raise `UsageError`, naming the nearest one, for a `key` of hydra.launcher that `launcher` does not have."""
    store = ConfigStore.instance()
    if f"{launcher}.yaml" not in store.list(GROUP):
        return  # a file of the user's
    known = sorted(str(name) for name in store.load(f"{GROUP}/{launcher}.yaml").node)
    if key.split(".")[0] not in known:
        raise UsageError(
            f"unknown key 'hydra.launcher.{key}'{nearest(key, known) or '.'} {GROUP}={launcher} has "
            f"{', '.join(name for name in known if name != '_target_')}"
        )


def check_launcher(launcher: str, values: Mapping[str, Any]) -> None:
    """Raise `UsageError` for numbers that no job could be started with."""
    for keys, least in ((AT_LEAST_ONE, 1), (NOT_NEGATIVE, 0)):
        for key in keys:
            value = values.get(key)
            if value is not None and value < least:
                raise UsageError(f"hydra.launcher.{key} must be {least} or more, got {value}")
    if launcher == JOBLIB and values["n_jobs"] == 0:
        raise UsageError("hydra.launcher.n_jobs must be a number of jobs, or -1 for one on each core, got 0")
    several = [key for key in ("nodes", "tasks_per_node") if launcher == LOCAL and values[key] != 1]
    if several:
        raise UsageError(
            f"hydra.launcher.{several[0]} must be 1 with {GROUP}={launcher}: a job is one process, which starts "
            f"further ones for trainer.devices by itself; got {values[several[0]]}"
        )


def jobs_at_once(launcher: str, values: Mapping[str, Any], jobs: int | None) -> int:
    """Return how many of `jobs` (None: nobody knows) work on one computer at the same time."""
    if launcher == LOCAL:
        return jobs or 1
    if launcher != JOBLIB:
        return 1  # one after the other, or each with what a cluster gives it
    asked = int(values["n_jobs"])
    most = asked if asked > 0 else max(1, available_cores() + 1 + asked)
    return most if jobs is None else min(most, jobs)


@contextmanager
def threads_of_jobs(at_once: int) -> Iterator[None]:
    """Let the jobs that the block starts find, where the user says nothing, their part of the cores for numpy's
    linear algebra, which reads it when it is loaded.
    """
    each = str(max(1, available_cores() // at_once))
    given = {name: each for name in THREADS if name not in os.environ and at_once > 1}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name, None)


def see_cards_again(launcher: str, values: Mapping[str, Any], cards: str | None) -> None:
    """Undo that submitit_local hides every graphics card from a job for which no number of them was given.

    `cards`: what the command that started the job sees, CUDA_VISIBLE_DEVICES.
    """
    if launcher != LOCAL or values.get("gpus_per_node") is not None:
        return
    if cards is None:
        os.environ.pop(CARDS, None)
    else:
        os.environ[CARDS] = cards
