"""The residual encoder U-Net's encoder: a stem and stages of residual blocks. Its decoder is the plain one."""

from torch import Tensor, nn

from segfw.core.plan import Configuration
from segfw.nn.blocks import ConvStack, ResidualStack
from segfw.nn.unet import UNet, plain_decoder


class ResidualEncoder(nn.Module):
    """A convolution at full resolution, then stages of residual blocks, each beginning with the strided one."""

    def __init__(self, configuration: Configuration, num_channels: int) -> None:
        super().__init__()
        features, kernels, strides = configuration.features_per_stage, configuration.kernel_sizes, configuration.strides
        self.stem = ConvStack(1, num_channels, features[0], kernels[0], (1,) * len(kernels[0]))
        stages = zip(
            configuration.n_conv_per_stage, (features[0], *features[:-1]), features, kernels, strides, strict=True
        )
        self.stages = nn.ModuleList(ResidualStack(*stage) for stage in stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each stage's features, full resolution first."""
        features, outputs = self.stem(image), []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return outputs


def build_residual_unet(
    configuration: Configuration, num_channels: int, num_heads: int, deep_supervision: bool
) -> UNet:
    """Build the residual encoder U-Net of `configuration`."""
    encoder = ResidualEncoder(configuration, num_channels)
    return UNet(encoder, plain_decoder(configuration, num_heads), deep_supervision=deep_supervision)
