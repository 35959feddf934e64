"""Instance norm that stays in the channels-last layout.

PyTorch's own copies such a tensor to the contiguous layout and back and finds the variance in a slow pass: on two
AVX-512 cores a training step of Hippocampus's small network takes 0.79 processor seconds with it and 0.67 with this.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHANNELS_LAST: dict[int, torch.memory_format] = {2: torch.channels_last, 3: torch.channels_last_3d}


class InstanceNorm(nn.Module):
    """Give every channel of every sample mean 0 and variance 1 over space, then a learned scale and shift.

    `(B, C, *space)` -> the same; parameters and values are those of `torch.nn.InstanceNorm*d(C, affine=True)`.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize; in a layout of its own only where that is faster, in float32 on the processor."""
        if _is_channels_last_on_cpu(x) and not torch.compiler.is_compiling():
            output: Tensor = _ChannelsLastNorm.apply(  # type: ignore[no-untyped-call]  # torch does not annotate apply
                x, self.weight, self.bias, self.eps
            )
            return output
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        """Return what `print` shows of the module."""
        return f"{len(self.weight)}, eps={self.eps}"


def _is_channels_last_on_cpu(x: Tensor) -> bool:
    layout = CHANNELS_LAST.get(x.ndim - 2)
    return (
        layout is not None
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[1] > 1
        and x.is_contiguous(memory_format=layout)
    )


class _ChannelsLastNorm(torch.autograd.Function):
    """The same arithmetic on rows (B, voxels, C), a view of the channels-last layout.

    With x' = (x - mean) / deviation, y = weight x' + bias and gradient g of y:
    dx = weight / deviation (g - mean(g) - x' mean(g x')).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        centered = _rows(x)
        centered = centered - centered.mean(1, keepdim=True)
        inverse = (centered.square().mean(1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(centered, weight, inverse)
        y = torch.empty_like(x)
        torch.addcmul(bias, centered, inverse * weight, out=_rows(y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centered, weight, inverse = ctx.saved_tensors
        space, voxels = gradient.shape[2:], centered.shape[1]
        g = _rows(gradient.contiguous(memory_format=CHANNELS_LAST[len(space)]))
        mean = g.mean(1, keepdim=True)
        product = (g * centered).mean(1, keepdim=True) * inverse
        scale = weight * inverse
        dx = torch.addcmul(-scale * mean, g, scale).addcmul_(centered, -scale * inverse * product)
        dx = dx.unflatten(1, space).movedim(-1, 1)
        return dx, product.sum((0, 1)) * voxels, mean.sum((0, 1)) * voxels, None


def _rows(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(1, -2)
