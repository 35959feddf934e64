"""What the ranks of one fit tell one another, and how Lightning learns of them.

A process that trains alone has no process group; everything here then returns what it was given.
"""

import contextlib
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric.plugins import ClusterEnvironment
from pytorch_lightning import Trainer
from torch import Tensor

from segfw.core.errors import JobError
from segfw.core.support.ranks import Ranks
from segfw.nn.ranks import is_distributed

log = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_VALIDATION = timedelta(days=7)
"""How long a rank waits for the others' share of the whole cases. A process that died is noticed at once, a lost
computer by those who watch its signs of life (`stages.trainings.rank_watch`)."""


class GivenRanks(ClusterEnvironment):
    """Tells Lightning the ranks that we know, instead of letting it look for a scheduler's variables."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        """Nothing is left to start."""
        return True

    @property
    def main_address(self) -> str:
        """Host of rank 0."""
        return self.ranks.address

    @property
    def main_port(self) -> int:
        """Port at which the ranks meet."""
        return self.ranks.port

    @staticmethod
    def detect() -> bool:
        """Never chosen by itself."""
        return False

    def world_size(self) -> int:
        """All processes."""
        return self.ranks.world_size

    def set_world_size(self, size: int) -> None:
        """Raise `JobError` for another number than ours: Lightning has it from the devices and nodes it was given."""
        if size != self.ranks.world_size:
            raise JobError(f"Lightning would train in {size} processes, {self.ranks.world_size} have been started")

    def global_rank(self) -> int:
        """This process among all."""
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        """Keep our own: Lightning counts node by node, which srun need not do (`--distribution=cyclic`)."""
        if rank != self.ranks.rank:
            log.debug("rank %d, which Lightning would count as %d", self.ranks.rank, rank)

    def local_rank(self) -> int:
        """This process among those of its node."""
        return self.ranks.local_rank

    def node_rank(self) -> int:
        """The node of this process."""
        return self.ranks.node


def smallest_over_ranks(value: Tensor) -> Tensor:
    """Return the least of every rank's `value`."""
    if not is_distributed():
        return value
    least = value.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return least


def gather_from_ranks(value: T) -> list[T]:
    """Return every rank's `value`, which can be pickled, in the order of the ranks."""
    if not is_distributed():
        return [value]
    gathered: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


class LongWait:
    """A place to wait for the other ranks for days, without keeping a device busy. All ranks make it together."""

    def __init__(self) -> None:
        several = is_distributed()
        self.group = dist.new_group(backend="gloo", timeout=LONGEST_VALIDATION) if several else None

    def __call__(self) -> None:
        """Return when all ranks have come here."""
        if self.group is not None:
            dist.barrier(group=self.group)


@contextlib.contextmanager
def closing_the_group() -> Iterator[None]:
    """Close the process group that the block has opened; after a failure the end of the process does it.

    (Closing takes part of the others, which may be waiting elsewhere.)
    """
    yield
    if is_distributed():
        dist.destroy_process_group()


def leave_sigterm_to_us(trainer: Trainer) -> None:
    """Keep Lightning from answering SIGTERM, which `Leaving` does.

    It would end an on-line validation without its checkpoint, and a job whose scheduler only warns by it. Of several
    ranks it tells the others by collectives within the signal handler, where they do not expect it, and asks in every
    step, which makes the host wait for the device each time.
    """
    connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop
    connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]
    loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def device_index(ranks: Ranks, devices: int | str | tuple[int, ...]) -> int:
    """Return which of its node's devices a rank takes, by `trainer.devices`."""
    return devices[ranks.local_rank] if isinstance(devices, tuple) else ranks.local_rank


def take_device(ranks: Ranks, devices: int | str | tuple[int, ...]) -> None:
    """Make the rank's own graphics card the current one, so that nothing of it lands on the first."""
    if ranks.together and torch.cuda.is_available():
        torch.cuda.set_device(device_index(ranks, devices))
