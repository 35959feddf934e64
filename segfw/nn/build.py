"""From a configuration of the plan to a network with fresh weights."""

from typing import Any

import torch
from torch import nn

from segfw.core.errors import UsageError
from segfw.core.plan import Configuration
from segfw.nn.blocks import CONVOLUTIONS, INSTANCE_NORMS, NEGATIVE_SLOPE, TRANSPOSED, ResidualBlock
from segfw.nn.residual_unet import ResidualEncoder
from segfw.nn.unet import Decoder, PlainEncoder, UNet

ENCODERS: dict[str, type[PlainEncoder] | type[ResidualEncoder]] = {
    "unet": PlainEncoder,
    "residual_unet": ResidualEncoder,
}
CONVOLUTION_TYPES: tuple[Any, ...] = (*CONVOLUTIONS.values(), *TRANSPOSED.values())
NORM_TYPES: tuple[Any, ...] = tuple(INSTANCE_NORMS.values())


def build_network(
    configuration: Configuration,
    num_channels: int,
    num_heads: int,
    deep_supervision: bool = True,
    network: str = "planned",
) -> UNet:
    """Build the network of `configuration`; `network` names an architecture, or "planned" for the configuration's own.

    The weights are PyTorch's defaults: `initialize` them or load some.
    """
    name = configuration.architecture if network == "planned" else network
    if name not in ENCODERS:
        raise UsageError(f"network must be 'planned' or one of {sorted(ENCODERS)}, got {name!r}")
    encoder = ENCODERS[name](configuration, num_channels)
    return UNet(encoder, Decoder(configuration, num_heads), deep_supervision=deep_supervision)


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator | int) -> None:
    """Draw the weights in place from `generator` (or from a new one with this seed), in the order of the modules.

    Convolutions: He's normal initialization for leaky ReLU over the fan-in; biases 0; norms 1 and 0. The second norm
    of each residual block is 0 altogether, so that such a block starts as its shortcut.
    """
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    for module in network.modules():
        if isinstance(module, CONVOLUTION_TYPES):
            nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, NORM_TYPES):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            for parameter in module.conv2.norm.parameters():
                nn.init.zeros_(parameter)
