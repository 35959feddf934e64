"""A convolution whose weight gradient is wrong in bfloat16 on processors, and how it is computed instead.

Where the first axis of a 3D feature map has two entries and the kernel spans it, PyTorch 2.13 (oneDNN) returns as
gradient of the weights what happened to lie in memory: numbers up to 1e37, or, worse, unremarkable ones. Such maps are
tiny, so float32 costs nothing there.
"""

from typing import Any

import torch
from torch import Tensor, nn

from segfw.core.errors import UsageError

SHALLOW = 2
"""Entries along the first axis with which the gradient is wrong; 1, 3 and more are right."""


def keep_shallow_in_float32(network: nn.Module) -> None:
    """Let every 3D convolution of `network` that meets a feature map of two slices leave autocast for it.

    Where there is no autocast to leave since the weights themselves are bfloat16, its call raises `UsageError`.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:
            _Float32().attach(module)


class _Float32:
    """The region without autocast around one call of a module."""

    def __init__(self) -> None:
        self._region: torch.autocast | None = None

    def attach(self, module: nn.Module) -> None:
        """Enter before each call that needs it, leave after it, also when it raised."""
        module.register_forward_pre_hook(self._enter)
        module.register_forward_hook(self._leave, always_call=True)

    def _enter(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        (features,) = inputs
        if features.shape[2] != SHALLOW:
            return None
        if not torch.is_autocast_enabled("cpu"):
            if features.dtype == torch.bfloat16:
                raise UsageError(
                    "trainer.precision=bf16-true does not go with a 3D feature map of two slices on a processor, where "
                    "PyTorch's gradient is wrong; use bf16-mixed or 32-true"
                )
            return None
        self._region = torch.autocast("cpu", enabled=False)
        self._region.__enter__()
        return (features.float(),)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        region, self._region = self._region, None
        if region is not None:
            region.__exit__(None, None, None)
