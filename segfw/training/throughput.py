"""How fast a device trains, measured in a third of a second on the layers that dominate a U-Net.

Forward and backward pass through two convolutions with their norms: a lone convolution computes a third more per second
than training does (measured on a CPU: 66 GFLOP/s, these layers 56, whole networks 49 to 51).
"""

import functools
import time

import torch
from torch import nn

from segfw.core.planning.cost import PASSES
from segfw.training.devices import Device, set_threads

CHANNELS, KERNEL, CONVOLUTIONS, BATCH = 32, 3, 2, 1
EDGE, CUDA_EDGE = 32, 80  # a small volume does not fill a graphics card
HALF = {"cuda": torch.float16, "cpu": torch.bfloat16}
SECONDS, REPETITIONS = 0.3, 20  # short steps: the fastest of many is the one that other work disturbed least


@functools.cache
def measure_flops_per_second(device: Device) -> float:
    """Train two layers for a third of a second, once per process; return the operations per second of the best step."""
    set_threads(device)
    edge = CUDA_EDGE if device.accelerator == "cuda" else EDGE
    kind = torch.float32
    if device.precision.startswith(("16", "bf16")) and device.accelerator in HALF:
        kind = HALF[device.accelerator]
    layers = _layers().to(device.accelerator, kind)
    image = torch.ones(BATCH, CHANNELS, edge, edge, edge, dtype=kind, device=device.accelerator)
    if device.accelerator == "cpu" and kind == torch.float32:  # laid out as training does there
        layers.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        image = image.to(memory_format=torch.channels_last_3d)
    image.requires_grad_()
    _step(layers, image)
    started, best = time.perf_counter(), float("inf")
    for _ in range(REPETITIONS):
        before = time.perf_counter()
        _step(layers, image)
        now = time.perf_counter()
        best = min(best, now - before)
        if now - started > SECONDS:
            break
    return PASSES * CONVOLUTIONS * 2.0 * BATCH * CHANNELS**2 * KERNEL**3 * edge**3 / best


def _layers() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(CONVOLUTIONS):
        convolution = nn.Conv3d(CHANNELS, CHANNELS, KERNEL, padding=KERNEL // 2)
        layers += [convolution, nn.InstanceNorm3d(CHANNELS, affine=True), nn.LeakyReLU(inplace=True)]
    return nn.Sequential(*layers)


def _step(layers: nn.Module, image: torch.Tensor) -> None:
    layers(image).mean().backward()
    if image.device.type == "cuda":
        torch.cuda.synchronize()
    elif image.device.type == "mps":
        torch.mps.synchronize()
