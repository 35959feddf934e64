"""Which device trains and predicts, and the errors a user meets when it is not the one they meant.

An NVIDIA card that PyTorch cannot use is an error, not a silent fall back to the CPU: hours of training would become
weeks.
"""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from segfw.core.errors import DeviceError, UsageError
from segfw.core.settings.training import ACCELERATORS
from segfw.core.support.conversion import nearest
from segfw.core.support.cpu import available_cores

_DRIVER_FOR_CUDA = {11: 450, 12: 525, 13: 580}  # oldest Linux driver of each major version (NVIDIA, CUDA compatibility)
_UNKNOWN_VERSION = "unknown"
ON_CPU = "trainer.accelerator=cpu (predict: accelerator=cpu)"
MOST_WORKERS = 12


@dataclass(frozen=True)
class Device:
    """Where the arithmetic runs. `accelerator` is PyTorch's device type; `precision` is one of Lightning's names.

    `memory_gb`: memory of the graphics processor in 10^9 bytes, None for the CPU.
    """

    accelerator: Literal["cpu", "cuda", "mps"]
    name: str
    precision: str
    threads: int
    description: str
    memory_gb: float | None = None

    @property
    def training(self) -> str:
        """The description of a training, whose precision on a processor is not that of predictions."""
        if self.accelerator != "cpu" or self.precision == "32-true":
            return self.description
        return f"{self.description}, precision {self.precision}"


def visible_driver() -> str | None:
    """Return the version of the NVIDIA driver whose card this process may use, or None where there is no such card.

    "unknown" where only the card is seen. A driver without a card does not count: containers see the host's /proc
    without its cards.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return None
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        found = re.search(r"\d+\.\d+(\.\d+)?", answer.stdout) if answer.returncode == 0 else None
        if found:
            return found.group()
    except (OSError, subprocess.TimeoutExpired):
        pass
    if not any(re.fullmatch(r"nvidia\d+", path.name) for path in Path("/dev").glob("nvidia*")):
        return None
    return _driver_of_kernel(Path("/proc/driver/nvidia/version"))


def _driver_of_kernel(path: Path) -> str:
    try:
        found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+\.\d+(?:\.\d+)?)", path.read_text(encoding="utf-8"))
    except OSError:
        return _UNKNOWN_VERSION
    return found.group(1) if found else _UNKNOWN_VERSION


def cuda_failure() -> str | None:
    """Return PyTorch's own words if a small sum on the first card fails, else None."""
    try:
        torch.ones(2, device="cuda").sum().item()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


def multiplies_bf16() -> bool:
    """Return whether the processor has instructions for products of bfloat16; False where PyTorch cannot tell."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


@dataclass(frozen=True)
class Probes:
    """How the machine is asked; each can be replaced where the answer must be a given one."""

    cuda_available: Callable[[], bool] = torch.cuda.is_available
    cuda_build: Callable[[], str | None] = lambda: torch.version.cuda
    cuda_name: Callable[[], str] = torch.cuda.get_device_name
    cuda_memory: Callable[[], float] = lambda: torch.cuda.get_device_properties(0).total_memory
    cuda_failure: Callable[[], str | None] = cuda_failure
    mps_memory: Callable[[], float] = torch.mps.recommended_max_memory
    mps_available: Callable[[], bool] = torch.backends.mps.is_available
    driver: Callable[[], str | None] = visible_driver
    cores: Callable[[], int] = available_cores
    multiplies_bf16: Callable[[], bool] = multiplies_bf16


def choose_device(
    accelerator: str = "auto", precision: str = "auto", threads: int | None = None, probes: Probes | None = None
) -> Device:
    """Return the device that `accelerator` (auto, cpu, gpu, mps) means on this machine.

    Raises `DeviceError` when the device asked for is missing, and for `auto` too when an NVIDIA card is present that
    PyTorch cannot use; `UsageError` for another word.
    """
    probes = probes or Probes()
    if accelerator not in ACCELERATORS:
        near = nearest(accelerator, ACCELERATORS)
        raise UsageError(f"accelerator must be one of {ACCELERATORS}, got {accelerator!r}{near}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    threads = threads or probes.cores()
    if accelerator in ("auto", "gpu", "cuda"):
        if probes.cuda_available():
            return _cuda(precision, threads, probes)
        _refuse_unusable_card(probes)
    if accelerator in ("auto", "mps") and probes.mps_available():
        memory = probes.mps_memory() / 1e9
        return Device("mps", "Apple GPU", _precision(precision, "32-true"), threads, "Apple GPU (MPS)", memory)
    if accelerator in ("gpu", "cuda"):
        raise DeviceError(
            f"accelerator={accelerator} was asked for, but there is no CUDA device; use the processor: {ON_CPU}"
        )
    if accelerator == "mps":
        raise DeviceError(f"accelerator=mps was asked for, but PyTorch finds no Apple GPU; use the processor: {ON_CPU}")
    reason = "no CUDA device found" if accelerator == "auto" else "as asked"
    plural = "" if threads == 1 else "s"
    precision = _precision(precision, "bf16-mixed" if probes.multiplies_bf16() else "32-true")
    return Device("cpu", "CPU", precision, threads, f"CPU, {threads} thread{plural} ({reason})")


def set_threads(device: Device) -> None:
    """Let PyTorch use the device's share of processor cores in this process."""
    torch.set_num_threads(device.threads)


def _precision(asked: str, default: str) -> str:
    return default if asked == "auto" else asked


def _cuda(precision: str, threads: int, probes: Probes) -> Device:
    name = probes.cuda_name()
    failure = probes.cuda_failure()
    if failure:
        raise DeviceError(
            f"{name} is present, but PyTorch {torch.__version__} cannot compute on it: {failure}. "
            f"Install a build of PyTorch for this card (https://pytorch.org/get-started/locally), "
            f"or use the processor: {ON_CPU}"
        )
    precision = _precision(precision, "16-mixed")
    description = f"{name} (CUDA {probes.cuda_build()}, precision {precision})"
    return Device("cuda", name, precision, threads, description, probes.cuda_memory() / 1e9)


def _refuse_unusable_card(probes: Probes) -> None:
    driver = probes.driver()
    if driver is None:
        return
    build = probes.cuda_build()
    found = f"an NVIDIA card is present (driver {driver}), but PyTorch {torch.__version__} cannot use it"
    if build is None:
        why = f"this is a build without CUDA, and CUDA 12 needs driver {_DRIVER_FOR_CUDA[12]} or newer"
    else:
        needed = _DRIVER_FOR_CUDA.get(int(build.split(".")[0]), max(_DRIVER_FOR_CUDA.values()))
        why = f"it is built for CUDA {build}, which needs driver {needed} or newer"
    raise DeviceError(f"{found}: {why}. {_remedy(driver)}, or use the processor: {ON_CPU}")


def _remedy(driver: str) -> str:
    """Return the pip line that brings a PyTorch for this driver; the default builds turned to CUDA 13 with 2.11."""
    major = int(driver.split(".")[0]) if driver != _UNKNOWN_VERSION else _DRIVER_FOR_CUDA[12]
    version = "torch" if major >= _DRIVER_FOR_CUDA[13] else '"torch>=2.4,!=2.9.*,<2.11"'
    line = f"pip install --force-reinstall {version}"
    if major < _DRIVER_FOR_CUDA[12]:
        return f"Update the driver to {_DRIVER_FOR_CUDA[12]} or newer, then: {line}"
    return f"Install one that fits: {line}"


def choose_workers(asked: int | None, device: Device) -> int:
    """Return how many processes cut training patches.

    None asks for a choice. Where the processor trains, none: its cores are taken, and cutting and augmenting a batch
    costs little (22 ms beside a step of 1.7 s of processor time, Hippocampus). Beside a GPU one per core, at most 12,
    nnU-Net's number.
    """
    if asked is not None:
        return asked
    return 0 if device.accelerator == "cpu" else min(MOST_WORKERS, device.threads)
