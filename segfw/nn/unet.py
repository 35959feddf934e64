"""The U-Net: an encoder, a decoder that joins its outputs from the coarsest up, and a head at each resolution.

With strides s1, s2 (three stages; the heads are numbered as the decoder's stages, from the bottom):

```
image ── stage 0 ───────────────────────────── join ── stages.1 ── head 1 ── logits at full resolution
            └─ /s1 ─ stage 1 ────── join ── stages.0 ─┴─ head 0 ── logits at 1/s1
                        └─ /s2 ─ stage 2 ─┘
```
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segfw.core.plan import Configuration
from segfw.core.types import Shape
from segfw.nn.blocks import CONVOLUTIONS, TRANSPOSED, ConvStack


class PlainEncoder(nn.Module):
    """Stacks of convolutions, each stage beginning with the strided one."""

    def __init__(self, configuration: Configuration, num_channels: int) -> None:
        super().__init__()
        features = configuration.features_per_stage
        stages = zip(
            configuration.n_conv_per_stage,
            (num_channels, *features[:-1]),
            features,
            configuration.kernel_sizes,
            configuration.strides,
            strict=True,
        )
        self.stages = nn.ModuleList(nn.Sequential(ConvStack(*stage)) for stage in stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each stage's features, full resolution first."""
        outputs: list[Tensor] = []
        for stage in self.stages:
            outputs.append(stage(outputs[-1] if outputs else image))
        return outputs


class Decoder(nn.Module):
    """Upsamples, joins with the encoder's features and goes through a stage, from the coarsest to full resolution.

    All three lists are indexed from the bottom. Every resolution has a head, used or not, so that weights load
    whatever the deep supervision. An encoder of one stage, as planned for images below 8 voxels, leaves nothing to
    join: its decoder is one head.
    """

    def __init__(
        self, stages: Sequence[nn.Module], upsamplings: Sequence[nn.Module], heads: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(upsamplings)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, skips: Sequence[Tensor], num_outputs: int) -> list[Tensor]:
        """Return the logits of the `num_outputs` finest resolutions, full resolution first."""
        features, outputs = skips[-1], []
        if not self.stages:
            return [self.seg_layers[0](features)]
        first_head = len(self.stages) - num_outputs
        layers = zip(self.transpconvs, self.stages, self.seg_layers, reversed(skips[:-1]), strict=True)
        for depth, (upsampling, stage, head, skip) in enumerate(layers):
            features = stage(torch.cat((upsampling(features), skip), dim=1))
            if depth >= first_head:
                outputs.append(head(features))
        return outputs[::-1]


class UNet(nn.Module):
    """A network from `(B, num_channels, *patch)` to logits `(B, num_heads, *patch)`.

    In evaluation mode, or with `deep_supervision` false: one tensor. In training mode with `deep_supervision`: a
    list, full resolution first, one entry per decoder stage; `skip_lowest_head` leaves out the coarsest one (unless
    it is the only one), which nnU-Net gives no weight in the loss. Both attributes may be changed at any time. Every
    axis of the patch must be divisible by the product of its strides.
    """

    def __init__(
        self, encoder: nn.Module, decoder: Decoder, *, deep_supervision: bool = True, skip_lowest_head: bool = True
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.deep_supervision = deep_supervision
        self.skip_lowest_head = skip_lowest_head

    @property
    def num_outputs(self) -> int:
        """How many resolutions the next forward pass in training mode returns."""
        if not self.deep_supervision:
            return 1
        total = len(self.decoder.stages)
        return max(1, total - 1) if self.skip_lowest_head else total

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits: one tensor, or in training with deep supervision a list of them."""
        skips = self.encoder(image)
        several = self.training and self.deep_supervision
        outputs: list[Tensor] = self.decoder(skips, self.num_outputs if several else 1)
        return outputs if several else outputs[0]


def build_unet(configuration: Configuration, num_channels: int, num_heads: int, deep_supervision: bool) -> UNet:
    """Build the plain U-Net of `configuration`."""
    encoder = PlainEncoder(configuration, num_channels)
    return UNet(encoder, plain_decoder(configuration, num_heads), deep_supervision=deep_supervision)


def plain_decoder(configuration: Configuration, num_heads: int) -> Decoder:
    """Build the decoder of transposed convolutions and stacks of convolutions."""
    one = (1,) * len(configuration.strides[0])
    levels = decoder_levels(configuration)
    return Decoder(
        [ConvStack(level.count, 2 * level.features, level.features, level.kernel, one) for level in levels],
        [TRANSPOSED[len(one)](level.below, level.features, level.stride, level.stride) for level in levels],
        build_heads(configuration, num_heads),
    )


@dataclass(frozen=True)
class DecoderLevel:
    """One way up: `count` convolutions of `kernel` into `features`, after enlarging `below` channels by `stride`."""

    count: int
    below: int
    features: int
    kernel: Shape
    stride: Shape


def decoder_levels(configuration: Configuration) -> tuple[DecoderLevel, ...]:
    """List the ways up from the bottom; none in a network of one stage."""
    c = configuration
    levels = reversed(range(len(c.features_per_stage) - 1))
    return tuple(
        DecoderLevel(count, c.features_per_stage[i + 1], c.features_per_stage[i], c.kernel_sizes[i], c.strides[i + 1])
        for count, i in zip(c.n_conv_per_stage_decoder, levels, strict=True)
    )


def build_heads(configuration: Configuration, num_heads: int) -> list[nn.Module]:
    """Build a 1x1 convolution to logits for each way up, from the bottom; one in a network of one stage."""
    one = (1,) * len(configuration.strides[0])
    widths = [level.features for level in decoder_levels(configuration)] or [configuration.features_per_stage[0]]
    return [CONVOLUTIONS[len(one)](width, num_heads, one) for width in widths]
