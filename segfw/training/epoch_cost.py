"""What an epoch costs: time, waiting for batches, memory, and how busy the device was.

Nothing here waits for the device within an epoch, and nothing that is measured is used by the training.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from segfw.core.support.host_memory import peak_memory
from segfw.training.devices import Device

T = TypeVar("T")

EPOCH, DATA, PATCHES = "time/epoch", "time/data", "time/patches_per_second"
USE, DEVICE_MEMORY, HOST_MEMORY = "device/use", "device/memory_gb", "host/memory_gb"
MEASURED = (EPOCH, DATA, PATCHES, USE, DEVICE_MEMORY, HOST_MEMORY)
"""Names of what is measured of each epoch; what a device does not tell is left out.

`time/epoch`: seconds of the epoch in this process, on-line validation included. `time/data`: seconds of it in which the
loop waited for batches. `time/patches_per_second`: training patches, of all devices, by `time/epoch`. `device/use`: the
share of `time/epoch` in which the device was busy (see `EpochCost`). `device/memory_gb`: most memory that tensors took
on a graphics card in the epoch. `host/memory_gb`: most memory that the process has taken so far. In 10^9 bytes, and of
several devices the first.
"""


@dataclass(frozen=True)
class Machine:
    """What a fold was trained on, and the most memory that took, in 10^9 bytes, over all commands; None: unknown."""

    description: str = ""
    memory_gb: float | None = None
    device_memory_gb: float | None = None


class Waits:
    """Counts batches and how long they were waited for, on the host and, with `on_cuda`, by the graphics card.

    The card runs behind the host, so that it need not be idle when the host waits: two events in its queue, which it
    passes at its own time, tell how long it had nothing to do.
    """

    def __init__(self, on_cuda: bool = False) -> None:
        self.batches, self.seconds = 0, 0.0
        self._on_cuda = on_cuda
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """Yield `batches`, noting how long each was waited for."""
        while True:
            before, start = self._mark(), time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.seconds += time.perf_counter() - start
            after = self._mark()
            if before is not None and after is not None:
                self._events.append((before, after))
            self.batches += 1
            yield batch

    def idle(self) -> float:
        """Return the seconds that the graphics card had nothing to do; waits until it has passed the last batch."""
        if self._events:
            self._events[-1][1].synchronize()
        milliseconds: float = sum(before.elapsed_time(after) for before, after in self._events)
        return milliseconds / 1000

    def reset(self) -> None:
        """Count anew."""
        self.batches, self.seconds = 0, 0.0
        self._events.clear()

    def _mark(self) -> torch.cuda.Event | None:
        if not self._on_cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class EpochCost:
    """Measures epochs on `device`, whose training batches hold `batch_size` patches over all devices.

    How busy it was: on the CPU processor time of this process by time and threads, at most 1; on a graphics card the
    share in which it was not left without a batch; elsewhere the share in which the loop did not wait for one.
    """

    def __init__(self, device: Device, batch_size: int) -> None:
        self.device, self.batch_size = device, batch_size
        self.training, self.validation = (Waits(device.accelerator == "cuda") for _ in range(2))
        self._processor_time = 0.0

    def start(self) -> None:
        """Begin an epoch."""
        self._processor_time = time.process_time()
        self.training.reset()
        self.validation.reset()
        if self.device.accelerator == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def measured(self, seconds: float) -> dict[str, float]:
        """Return the epoch's values, by the names in `MEASURED`, after its `seconds`."""
        values = {
            EPOCH: seconds,
            DATA: self.training.seconds + self.validation.seconds,
            PATCHES: self.training.batches * self.batch_size / seconds,
            USE: min(1.0, max(0.0, self._use(seconds))),
        }
        return {**values, **memory()}

    def _use(self, seconds: float) -> float:
        if self.device.accelerator == "cpu":
            return (time.process_time() - self._processor_time) / (seconds * self.device.threads)
        if self.device.accelerator == "cuda":
            return 1 - (self.training.idle() + self.validation.idle()) / seconds
        return 1 - (self.training.seconds + self.validation.seconds) / seconds

    def machine(self, description: str, rows: Sequence[Mapping[str, float]]) -> Machine:
        """Return what trained, with the most memory of the epochs in `rows` and of what came after them."""
        seen = [*rows, memory()]
        host, device = (
            max((row[name] for row in seen if name in row), default=None) for name in (HOST_MEMORY, DEVICE_MEMORY)
        )
        return Machine(description, host, device)


def memory() -> dict[str, float]:
    """Return the most memory that this process has taken so far, and tensors since `EpochCost.start`, where known."""
    values: dict[str, Any] = {}
    if torch.cuda.is_initialized():
        values[DEVICE_MEMORY] = torch.cuda.max_memory_allocated() / 1e9
    held = peak_memory(os.getpid())
    if held:
        values[HOST_MEMORY] = held / 1e9
    return values
