"""V-Net: each stage learns a residual of its input, with wide kernels, between strided and transposed convolutions.

Milletari, Navab, Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation", 3DV
2016. As there: kernels of 5 (where the plan has 3; axes that the plan keeps apart stay so), PReLU, down- and
upsampling by learned convolutions with a nonlinearity of their own, and the stage's input added before its last one.
From the plan: widths, strides, and convolutions per stage. Two things differ. A stage's input is projected where the
plan gives the stage another width (there, widths are chosen so that it fits); and the paper has no normalization,
without which the published learning rates of nnU-Net do not train it: instance norm, as in the other networks.
"""

from torch import Tensor, nn

from segfw.core.plan import Configuration
from segfw.core.planning.topology import widened_kernel
from segfw.core.types import Shape
from segfw.nn.blocks import CONVOLUTIONS, TRANSPOSED, ConvBlock
from segfw.nn.norm import InstanceNorm
from segfw.nn.unet import Decoder, UNet, build_heads, decoder_levels


class VNetStage(nn.Module):
    """`count` convolutions whose result is added to the stage's input; PReLU after each and after the sum.

    ```
    x ── conv ── PReLU ── conv ── + ── PReLU
    └─── 1x1 (if channels differ) ─┘
    ```
    """

    def __init__(self, count: int, in_channels: int, out_channels: int, kernel: Shape) -> None:
        super().__init__()
        one = (1,) * len(kernel)
        widths = (in_channels, *(out_channels,) * (count - 1))
        self.convs = nn.ModuleList(ConvBlock(width, out_channels, kernel, one, activation=False) for width in widths)
        self.activations = nn.ModuleList(nn.PReLU(out_channels) for _ in widths)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else CONVOLUTIONS[len(kernel)](in_channels, out_channels, one)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, add the input, activate."""
        features = x
        for conv, activation in zip(self.convs[:-1], self.activations[:-1], strict=True):
            features = activation(conv(features))
        output: Tensor = self.activations[-1](self.convs[-1](features) + self.shortcut(x))
        return output


class VNetEncoder(nn.Module):
    """Stages of residual convolutions, a strided convolution before each but the first."""

    def __init__(self, configuration: Configuration, num_channels: int) -> None:
        super().__init__()
        c, ndim = configuration, len(configuration.strides[0])
        features = c.features_per_stage
        self.reductions = nn.ModuleList(
            nn.Sequential(CONVOLUTIONS[ndim](above, here, stride, stride), *norm_prelu(here))
            for above, here, stride in zip(features, features[1:], c.strides[1:], strict=False)
        )
        inputs = (num_channels, *features[1:])
        stages = zip(c.n_conv_per_stage, inputs, features, map(widened_kernel, c.kernel_sizes), strict=True)
        self.stages = nn.ModuleList(VNetStage(*stage) for stage in stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each stage's features, full resolution first."""
        outputs = [self.stages[0](image)]
        for reduction, stage in zip(self.reductions, self.stages[1:], strict=True):
            outputs.append(stage(reduction(outputs[-1])))
        return outputs


def norm_prelu(channels: int) -> tuple[nn.Module, nn.Module]:
    """Build what follows a strided or transposed convolution."""
    return InstanceNorm(channels), nn.PReLU(channels)


def build_vnet(configuration: Configuration, num_channels: int, num_heads: int, deep_supervision: bool) -> UNet:
    """Build the V-Net of `configuration`."""
    levels, ndim = decoder_levels(configuration), len(configuration.strides[0])
    decoder = Decoder(
        [VNetStage(level.count, 2 * level.features, level.features, widened_kernel(level.kernel)) for level in levels],
        [
            nn.Sequential(
                TRANSPOSED[ndim](level.below, level.features, level.stride, level.stride),
                *norm_prelu(level.features),
            )
            for level in levels
        ],
        build_heads(configuration, num_heads),
    )
    return UNet(VNetEncoder(configuration, num_channels), decoder, deep_supervision=deep_supervision)
