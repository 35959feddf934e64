"""Which of several cooperating processes this one is, as the launcher that started them says it in the environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from segfw.core.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together; by default it is alone.

    `rank` counts from 0 to `world_size` - 1 over all nodes, `local_rank` to `local_size` - 1 on this one, which is
    `node`. `launch` names what started them, the same for all and different from launch to launch. They meet at
    `address`:`port`.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: int = 0
    launch: str = ""
    address: str = "localhost"
    port: int = 0

    @property
    def together(self) -> bool:
        """Whether there are several processes."""
        return self.world_size > 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, and tells how the training goes."""
        return self.rank == 0


ALONE = Ranks()


def launched_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return this process's place among those that torchrun or srun has started with it; `ALONE` without either.

    A batch script is a single process and is given `SLURM_NTASKS`, too, so srun's own `SLURM_STEP_NUM_TASKS` is what
    counts. Raises `UsageError` for nodes with unequal numbers of processes.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        found = _of_torchrun(environment)
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        found = _of_slurm(environment)
    else:
        return ALONE
    if found.world_size % found.local_size:
        raise UsageError(
            f"every node must run as many processes as the others; this one runs {found.local_size} of "
            f"{found.world_size}"
        )
    return found if found.together else ALONE


def _of_torchrun(environment: Mapping[str, str]) -> Ranks:
    port = environment["MASTER_PORT"]
    run = environment["TORCHELASTIC_RUN_ID"]  # (each node's agent has a count of restarts of its own)
    return Ranks(
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment["LOCAL_RANK"]),
        local_size=int(environment["LOCAL_WORLD_SIZE"]),
        node=int(environment["GROUP_RANK"]),
        launch=re.sub(r"\W+", "_", f"torchrun_{run}_{port}"),
        address=environment["MASTER_ADDR"],
        port=int(port),
    )


def _of_slurm(environment: Mapping[str, str]) -> Ranks:
    node, step = int(environment["SLURM_NODEID"]), environment.get("SLURM_STEP_ID", "0")
    return Ranks(
        rank=int(environment["SLURM_PROCID"]),
        world_size=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        local_size=_tasks_of_nodes(environment["SLURM_STEP_TASKS_PER_NODE"])[node],
        node=node,
        launch=f"slurm_{environment['SLURM_JOB_ID']}_{step}",
        address="",
    )


def _tasks_of_nodes(text: str) -> list[int]:
    """Spell out SLURM's short form: `2(x3),1` is 2, 2, 2, 1."""
    counts = []
    for part in text.split(","):
        tasks, _, times = part.partition("(x")
        counts += [int(tasks)] * int(times.rstrip(")") or 1)
    return counts
