"""The blocks that the networks are made of, for two and three spatial axes alike.

Attribute names follow nnU-Net's state dict (`conv`, `norm`, `convs`, `conv1`, `skip`, ...), so that a parameter has
the same name here and there. `ndim` is the length of the kernel.
"""

import math
from typing import Any

from torch import Tensor, nn

from segfw.core.types import Shape
from segfw.nn.convolution import Conv2d, Conv3d
from segfw.nn.norm import InstanceNorm

# number of spatial axes -> module
CONVOLUTIONS: dict[int, Any] = {2: Conv2d, 3: Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
AVERAGE_POOLS: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}

NEGATIVE_SLOPE = 0.01


class ConvBlock(nn.Module):
    """Convolution, instance norm and, unless `activation` is false, leaky ReLU.

    Odd kernels keep the size at stride 1. `(B, in_channels, *space)` -> `(B, out_channels, *space / stride)`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Shape,
        stride: Shape,
        *,
        bias: bool = True,
        activation: bool = True,
    ) -> None:
        super().__init__()
        ndim = len(kernel)
        padding = tuple((k - 1) // 2 for k in kernel)
        self.conv = CONVOLUTIONS[ndim](in_channels, out_channels, kernel, stride, padding, bias=bias)
        self.norm = InstanceNorm(out_channels)
        self.nonlin = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True) if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        output: Tensor = self.nonlin(self.norm(self.conv(x)))
        return output


class ConvStack(nn.Module):
    """`count` convolution blocks in a row; the first one takes the stride."""

    def __init__(self, count: int, in_channels: int, out_channels: int, kernel: Shape, stride: Shape) -> None:
        super().__init__()
        one = (1,) * len(kernel)
        first = ConvBlock(in_channels, out_channels, kernel, stride)
        self.convs = nn.Sequential(
            first, *(ConvBlock(out_channels, out_channels, kernel, one) for _ in range(count - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks in order."""
        output: Tensor = self.convs(x)
        return output


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut that pools instead of striding (ResNet-D), added before the last activation.

    ```
    x ── conv1 (stride) ── conv2 (no activation) ── + ── leaky ReLU
    └─── average pool (stride) ── 1x1 (if channels differ) ──┘
    ```
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: Shape, stride: Shape) -> None:
        super().__init__()
        one = (1,) * len(kernel)
        self.conv1 = ConvBlock(in_channels, out_channels, kernel, stride)
        self.conv2 = ConvBlock(out_channels, out_channels, kernel, one, activation=False)
        self.nonlin2 = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
        shortcut: list[nn.Module] = []
        if math.prod(stride) > 1:
            shortcut.append(AVERAGE_POOLS[len(kernel)](stride, stride))
        if in_channels != out_channels:
            shortcut.append(ConvBlock(in_channels, out_channels, one, one, bias=False, activation=False))
        self.skip = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the convolutions' output and activate."""
        output: Tensor = self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
        return output


class ResidualStack(nn.Module):
    """`count` residual blocks in a row; the first one takes the stride."""

    def __init__(self, count: int, in_channels: int, out_channels: int, kernel: Shape, stride: Shape) -> None:
        super().__init__()
        one = (1,) * len(kernel)
        first = ResidualBlock(in_channels, out_channels, kernel, stride)
        self.blocks = nn.Sequential(
            first, *(ResidualBlock(out_channels, out_channels, kernel, one) for _ in range(count - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks in order."""
        output: Tensor = self.blocks(x)
        return output
