"""Where cases are held while patches are cut from them: `data.cache`."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from segfw.core.errors import JobError, UsageError
from segfw.core.planning.footprint import FLOAT, MAPS_KEPT
from segfw.core.planning.memory import configuration_memory
from segfw.core.settings.training import AugmentationSettings
from segfw.data.artefacts import has_artefacts
from segfw.data.store import Store
from segfw.training.devices import Device
from segfw.training.run import FoldRun

log = logging.getLogger(__name__)

Cache = Literal["device", "host", "none"]
Asked = Literal["auto", "device", "host", "none"]
RESERVE = 2e9
"""Device memory beside a step's feature maps: weights, optimizer, the libraries' work space."""
ROOM = 0.9
"""Share of the free memory that is planned with."""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and a line that says so."""

    cache: Cache
    line: str


def choose_cache(asked: Asked, held: int, training: float, free: int | None, hindrance: str | None = None) -> Choice:
    """Choose for cases of `held` bytes, a training of `training` bytes on the device, and `free` bytes there.

    `free` is None where the device has no memory of its own: files are as near as memory is then. `hindrance`: what
    has to be done by processors between reading and the device. If the device is asked for, `UsageError` where there is
    such a hindrance, `JobError` where the cases alone do not fit.
    """
    cases = f"{held / 1e9:.2f} GB of cases"
    refuse_hindered(asked, hindrance)
    if asked == "device" and free is not None and held > free:
        raise JobError(
            f"data.cache=device: {cases} do not fit into {free / 1e9:.1f} GB of free device memory; "
            f"use data.cache=auto or data.cache=none"
        )
    if asked != "auto":
        return Choice(asked, f"data.cache={asked}: {cases}")
    if free is None:
        return Choice("none", f"data.cache=auto: {cases} are read from files, the device has no memory of its own")
    if hindrance is not None:
        return Choice("none", f"data.cache=auto: {cases} are read from files, since {hindrance}")
    space = f"of {free / 1e9:.1f} GB free, training takes about {training / 1e9:.1f} GB"
    if held <= ROOM * free - training:
        return Choice("device", f"data.cache=auto: {cases} are held in device memory ({space})")
    return Choice("none", f"data.cache=auto: {cases} are read from files, device memory is too small ({space})")


def refuse_hindered(asked: Asked, hindrance: str | None) -> None:
    """Raise `UsageError` where the device is asked for and `hindrance` keeps the cases from it."""
    if asked == "device" and hindrance is not None:
        raise UsageError(f"data.cache=device is not possible where {hindrance}; use data.cache=auto")


def training_memory(run: FoldRun, device: Device) -> float:
    """Estimate the device memory of a training step in bytes, rather too much than too little."""
    configuration = run.configuration
    value = FLOAT if device.precision.startswith(("32", "64")) else FLOAT / 2
    values = configuration_memory(configuration, run.plan.labels.num_heads) * configuration.batch_size
    return RESERVE + value * MAPS_KEPT * values


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a device's memory, None for the processor."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def cache_of(run: FoldRun, store: Store, cases: Sequence[str], device: Device, place: torch.device) -> Cache:
    """Choose where the cases of a run are held on `place` and log it."""
    held = sum(path.stat().st_size for case in dict.fromkeys(cases) for path in store.files(case))
    free = free_memory(place)
    choice = choose_cache(run.data.cache, held, training_memory(run, device), free, find_hindrance(run))
    if free is not None or run.data.cache != "auto":
        log.info("%s", choice.line)
    return choice.cache


def find_hindrance(run: FoldRun) -> str | None:
    """Name what processors have to do to a patch before it may go to the device; None if there is nothing."""
    if run.configuration.previous_stage is not None:
        name = run.configuration.previous_stage
        return f"the segmentations by {name} are changed where patches are read ({run.configuration_name})"
    return hindrance_of(run.augmentation)


def hindrance_of(augmentation: AugmentationSettings) -> str | None:
    """Name what processors have to do to a patch of whatever configuration; None if there is nothing."""
    if has_artefacts(augmentation):
        return "artefacts of scanners are added where patches are read"
    if augmentation.device != "auto":
        return f"augmentation.device={augmentation.device} keeps the augmentation where patches are read"
    return None


def hold_in_memory(store: Store, cases: Sequence[str]) -> None:
    """Read the files of `cases` once from end to end: the system keeps them in memory while there is room for them.

    Every process then finds them there. Copies of our own would be held once per worker where processes are not forked.
    """
    for case in cases:
        for path in store.files(case):
            with path.open("rb") as file:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
                while file.read(2**24):
                    pass
