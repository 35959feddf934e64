"""What predicting a case takes of the memory of the host and of the device, and what there is. Bytes throughout.

    host    image ─► + logits (float16) + sums of a window's depth + windows at once ─► logits + bands + segmentation
    device                              + image + sums             + windows at once

Sums and windows are on the device when they fit there, else on the host. Neither the program nor the networks' weights
count, nor the image as it was read: they are there before.
"""

import math
from dataclasses import dataclass, replace

import torch

from segfw.core.support.host_memory import available_memory
from segfw.core.support.words import readable_size
from segfw.core.types import Shape
from segfw.inference.fallbacks import Way, halvings
from segfw.inference.restoring_planes import BAND_BYTES, Place

FREE_SHARE = 0.8
"""Of the memory that is free: other programs go on, and an estimate is one."""
BAND_SHARE = 8
"""A band of the restoring takes at most this part of the budget."""
DEVICE_BAND_BYTES = 2**30
"""More at once does not make a GPU faster."""
GB = 1e9
HALF, FLOAT = 2, 4
WORKSPACE = 1.5
"""A convolution's own buffers (reordered weights and maps), as a multiple of the feature maps that live at once."""


@dataclass(frozen=True)
class Budget:
    """Bytes that a case may take on the host and on the device; `given`: by the user, else what is free."""

    host: float
    device: float
    given: bool = False


@dataclass(frozen=True)
class Need:
    """Bytes that a case takes on the host and on the device."""

    host: float
    device: float = 0.0

    def __str__(self) -> str:
        """Print the amounts: 3.20 GB of memory, and 420 MB on the device."""
        device = f", and {readable_size(self.device)} on the device" if self.device else ""
        return f"{readable_size(self.host)} of memory{device}"


@dataclass(frozen=True)
class WindowDemand:
    """What windows over an image `(C, *shape)` take: the padded image, its logits, sums of them, and one window."""

    image: float
    logits: float
    sums: float
    window: float

    @classmethod
    def of(cls, num_channels: int, shape: Shape, tile: Shape, num_heads: int, network_bytes: float) -> "WindowDemand":
        """Count for an image of `shape`; `network_bytes`: of the network's maps for one window.

        A window is stacked, mirrored, and its logits are averaged over mirrored copies and turned back.
        """
        padded = (*shape[: 3 - len(tile)], *(max(n, t) for n, t in zip(shape[-len(tile) :], tile, strict=True)))
        voxels, window = math.prod(padded), math.prod(tile)
        depth = tile[0] if len(tile) == 3 else 1
        single = math.prod(padded) == math.prod((depth, *tile[-2:]))
        return cls(
            image=FLOAT * num_channels * voxels,
            logits=HALF * num_heads * voxels,
            sums=0 if single else FLOAT * (num_heads + 3) * depth * math.prod(padded[1:]),
            window=FLOAT * window * (2 * num_channels + 3 * num_heads) + WORKSPACE * network_bytes,
        )


@dataclass(frozen=True)
class Course:
    """How the windows of a case are computed: how many at once, where they are added up; and what that takes."""

    batch_size: int
    sums_on_host: bool
    need: Need


def choose_course(demand: WindowDemand, budget: Budget, way: Way) -> Course:
    """Return the fastest course within the limits of `way` that fits into the budget; if none does, the smallest.

    Smaller batches come before sums on the host: fewer windows at once hardly slow a device, copying logits does.
    """
    for sums_on_host in (False, True):
        for batch_size in halvings(way.batch_size):
            course = Course(batch_size, sums_on_host, _need(demand, way.device, batch_size, sums_on_host))
            allowed = sums_on_host or not (way.sums_on_host or way.device.type == "cpu")
            if allowed and course.need.host <= budget.host and course.need.device <= budget.device:
                return course
    return course


def _need(demand: WindowDemand, device: torch.device, batch_size: int, sums_on_host: bool) -> Need:
    held, windows = demand.image + demand.logits, batch_size * demand.window
    if device.type == "cpu":
        return Need(held + demand.sums + windows)
    if sums_on_host:
        return Need(held + demand.sums, windows)
    return Need(held, demand.image + demand.sums + windows)


def memory_budget(memory_gb: float | None, device: torch.device) -> Budget:
    """Return what a case may take: `memory_gb` of the host and of the device each, or a share of what is free."""
    if memory_gb is not None:
        return Budget(memory_gb * GB, memory_gb * GB, given=True)
    return Budget(FREE_SHARE * available_memory(), FREE_SHARE * free_memory(device))


def free_memory(device: torch.device) -> float:
    """Return the bytes of a device that can be had, PyTorch's own cache of freed pieces included; 0 for the CPU."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return 0


def restoring_places(device: torch.device, budget: Budget) -> tuple[Place, ...]:
    """Return where logits are restored: on the device in large bands, in smaller ones, on the CPU."""
    on_cpu = Place(band_bytes=int(min(BAND_BYTES, budget.host / BAND_SHARE)))
    if device.type == "cpu":
        return (on_cpu,)
    large = Place(device, int(min(DEVICE_BAND_BYTES, budget.device / BAND_SHARE)), heads_at_once=None)
    return (large, replace(large, band_bytes=large.band_bytes // 8), on_cpu)


def enough_for(need: Need, budget: Budget) -> float:
    """Return a budget that suffices for what takes `need` within too small a one: its bands grow with the budget."""
    sides = ((need.host, budget.host, BAND_BYTES), (need.device, budget.device, DEVICE_BAND_BYTES))
    share = 1 / BAND_SHARE
    return max(min((size - given * share) / (1 - share), size + band) for size, given, band in sides)
