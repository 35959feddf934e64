"""How many devices train one fold together, by `trainer.devices`, the machine, and who started this process."""

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch

from segfw.core.errors import DeviceError, UsageError
from segfw.core.settings.training import TrainerSettings
from segfw.core.support.cpu import available_cores
from segfw.core.support.ranks import ALONE, Ranks
from segfw.training.devices import Device, choose_device
from segfw.training.throughput import measure_flops_per_second

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Team:
    """`count` devices like `device`. `ranks`: this process's place, if a launcher has started one for each device.

    `fewer`: fewer do where a batch has too few samples.
    """

    device: Device
    count: int = 1
    ranks: Ranks = ALONE
    fewer: bool = False

    @property
    def description(self) -> str:
        """The devices in words."""
        return self.device.training if self.count == 1 else f"{self.count} x {self.device.training}"

    def devices_for(self, batch_size: int, configuration: str) -> int:
        """Return how many of the devices share a batch; `UsageError` when some of them would get no sample."""
        if self.count <= batch_size:
            return self.count
        if self.fewer:
            return batch_size
        raise UsageError(
            f"{configuration} has batches of {batch_size}, which cannot be shared by {self.count} devices; "
            f"use at most {batch_size} (trainer.devices, trainer.num_nodes), or larger batches (plan.batch_size)"
        )

    def flops_per_second(self, count: int) -> float:
        """Measure one device and return what `count` of them compute."""
        return count * _measured(self.device, self.count)


def choose_team(settings: TrainerSettings, ranks: Ranks = ALONE) -> Team:
    """Return the devices that `settings` mean for a process at this place.

    A single card that is named by its number becomes the process's current one, so that nothing lands on the first.
    Raises `DeviceError` when there are not so many, `UsageError` when a launcher has started another number of
    processes or `trainer.num_nodes` asks for nodes without one.
    """
    wanted = _wanted(settings)
    per_node = ranks.local_size if ranks.together and wanted is None else wanted or 1
    _check_launch(settings, per_node, ranks)
    if settings.accelerator == "cpu" or not torch.cuda.is_available():
        threads = threads_per_process(settings, per_node)
        device = choose_device(settings.accelerator, settings.precision, threads)
        if device.accelerator == "mps" and per_node > 1:
            raise DeviceError(f"trainer.devices={settings.devices}: there is one Apple GPU, which trains alone")
        return Team(device, per_node * settings.num_nodes, ranks)
    found = torch.cuda.device_count()
    highest = max(settings.devices) + 1 if isinstance(settings.devices, tuple) else per_node
    if highest > found:
        raise DeviceError(
            f"trainer.devices={settings.devices} asks for {highest} graphics cards, this process sees {found} (each of "
            "the tasks that srun or torchrun has started must see all cards of its node)"
        )
    chooses = wanted is None and not ranks.together
    count = (found if chooses else per_node) * settings.num_nodes
    threads = threads_per_process(settings, count // settings.num_nodes)
    if isinstance(settings.devices, tuple) and count == 1:
        torch.cuda.set_device(settings.devices[0])
    device = apart(count, choose_device, settings.accelerator, settings.precision, threads)
    return Team(device, count, ranks, fewer=chooses)


def threads_per_process(settings: TrainerSettings, processes: int) -> int:
    """Return the processor threads of each of so many `processes` on one computer, which share its cores."""
    return settings.threads or max(1, available_cores() // processes)


def apart(devices: int, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Call what computes on a graphics card in a process of its own if several will train.

    This process would otherwise keep some memory of the first card for as long as they do.
    """
    if devices == 1 or not torch.cuda.is_available():
        return function(*arguments, **keywords)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **keywords).result()


@functools.cache
def _measured(device: Device, devices: int) -> float:
    return apart(devices, measure_flops_per_second, device)


def _wanted(settings: TrainerSettings) -> int | None:
    """Return how many devices of a node were asked for; None for `auto`."""
    if isinstance(settings.devices, tuple):
        return len(settings.devices)
    return None if settings.devices == "auto" else int(settings.devices)


def _check_launch(settings: TrainerSettings, per_node: int, ranks: Ranks) -> None:
    asked = f"trainer.devices={settings.devices} and trainer.num_nodes={settings.num_nodes}"
    if not ranks.together:
        if settings.num_nodes > 1:
            raise UsageError(
                f"trainer.num_nodes={settings.num_nodes} needs a launcher that starts this command on every node: "
                f"srun --nodes={settings.num_nodes} --ntasks-per-node={per_node} --kill-on-bad-exit=1 python -m segfw "
                f"..., or on each torchrun --nnodes={settings.num_nodes} --nproc-per-node={per_node} -m segfw ..."
            )
        return
    nodes = ranks.world_size // ranks.local_size
    if (per_node, settings.num_nodes) != (ranks.local_size, nodes):
        raise UsageError(
            f"{ranks.local_size} processes were started on each of {nodes} nodes, but {asked}; "
            f"give trainer.devices={ranks.local_size} trainer.num_nodes={nodes}"
        )
