"""Ways of doing a piece of work in less and less memory, so that a lack of it costs time and never a case.

    windows of a case:  8 at once ─► 4 ─► 2 ─► 1 ─► sums on the host ─► everything on the CPU
    restoring a case:   on the device ─► in smaller bands ─► on the CPU

What has turned out not to fit is not tried again in the same command.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Generic, TypeVar

import torch

from segfw.core.errors import JobError
from segfw.core.types import Shape

log = logging.getLogger(__name__)

SIGNS = (
    "out of memory",  # CUDA's driver, Apple's GPU
    "can't allocate memory",  # the CPU's allocator
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # how cuBLAS reports that there is no room for its handle
    "unable to find an engine",  # cuDNN, when no algorithm's workspace can be had
)
"""Words of the errors that PyTorch raises for want of memory without a class of their own."""

FULL_WINDOW = 128**3
MOST_WINDOWS = 8
"""The mirrored copies of one 3D window."""

W = TypeVar("W")
T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Way:
    """How the windows of a case are computed: on which device, how many at once at most, and where they are added up.

    `sums_on_host`: always on the host; false leaves that to the memory that is free.
    """

    device: torch.device
    batch_size: int
    sums_on_host: bool = False

    def __str__(self) -> str:
        """Name what sets it apart, for a log line."""
        windows = f"{self.batch_size} window{'s' if self.batch_size > 1 else ''} at once"
        return f"{windows} on {self.device.type}{', sums on the host' if self.sums_on_host else ''}"


def windows_at_once(device: torch.device, patch_size: Shape) -> int:
    """Return how many windows are computed at once unless something else is said or memory does not suffice.

    On the CPU one per thread, each in a thread of its own. Elsewhere as many as have the voxels of one of 128^3: more
    do not keep a GPU any busier.
    """
    wanted = torch.get_num_threads() if device.type == "cpu" else FULL_WINDOW // prod(patch_size)
    return min(max(1, wanted), MOST_WINDOWS)


def window_ways(device: torch.device, batch_size: int) -> tuple[Way, ...]:
    """Return the ways from `batch_size` windows at once on `device` down to single ones on the CPU."""
    halved = tuple(Way(device, size) for size in halvings(batch_size))
    if device.type == "cpu":
        return halved
    return (*halved, Way(device, 1, sums_on_host=True), Way(CPU, 1))


def halvings(number: int) -> tuple[int, ...]:
    """Return `number`, half of it, and so on down to 1."""
    return (number, *halvings(number // 2)) if number > 1 else (1,)


class Attempts(Generic[W]):
    """The ways of doing `work`, the fastest first, and the one that has been got to. Threads may share it."""

    def __init__(self, work: str, ways: Sequence[W]) -> None:
        self._work, self._ways = work, tuple(ways)
        self._current = 0
        self._said: set[str] = set()
        self._lock = threading.Lock()

    @property
    def current(self) -> W:
        """The way that the next work begins with."""
        return self._ways[self._current]

    def run(self, attempt: Callable[[W], T]) -> T:
        """Return what `attempt` returns for the first way, from the current one on, that memory suffices for.

        Each step is logged, once. Raises `JobError` when even the last lacks memory; other errors pass.
        """
        index = self._current
        while True:
            shortage = ""
            try:
                return attempt(self._ways[index])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                shortage = str(error).partition("\n")[0].partition(". ")[0]
            # The error is gone by now, and with its traceback the tensors of the attempt.
            if index + 1 == len(self._ways):
                raise JobError(f"{self._work}: out of memory even with {self._ways[index]} ({shortage})")
            _release_cached()
            index += 1
            self._go_on_with(index, shortage)

    def say(self, line: str) -> None:
        """Log a line about the work, the first time only."""
        with self._lock:
            new = line not in self._said
            self._said.add(line)
        if new:
            log.info("%s: %s", self._work, line)

    def _go_on_with(self, index: int, shortage: str) -> None:
        with self._lock:
            if index <= self._current:
                return
            self._current = index
        log.warning("%s: out of memory (%s); from now on %s", self._work, shortage, self._ways[index])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch's or numpy's says that memory, of the host or of a device, does not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def _release_cached() -> None:
    """Give back what PyTorch keeps of the failed attempt: in pieces that may not suit the next one."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
