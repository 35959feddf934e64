"""How fast a device computes convolutions, measured in a fraction of a second."""

import time

import torch

from segfw.training.devices import Device, set_threads

CHANNELS, EDGE, KERNEL = 32, 32, 3


def measure_flops_per_second(device: Device, repetitions: int = 3) -> float:
    """Time a 3D convolution of the size that dominates a U-Net; return its multiply-adds per second, times two."""
    set_threads(device)
    kind = torch.float16 if device.accelerator == "cuda" else torch.float32
    image = torch.ones(2, CHANNELS, EDGE, EDGE, EDGE, device=device.accelerator, dtype=kind)
    weight = torch.ones(CHANNELS, CHANNELS, KERNEL, KERNEL, KERNEL, device=device.accelerator, dtype=kind)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repetitions + 1):
            _synchronize(device)
            started = time.perf_counter()
            torch.nn.functional.conv3d(image, weight, padding=KERNEL // 2)
            _synchronize(device)
            best = min(best, time.perf_counter() - started)
    flops = 2.0 * 2 * CHANNELS * CHANNELS * KERNEL**3 * EDGE**3
    return flops / best


def _synchronize(device: Device) -> None:
    if device.accelerator == "cuda":
        torch.cuda.synchronize()
