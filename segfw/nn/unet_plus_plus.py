"""UNet++: a U-Net whose skip connections are densely nested, so that it holds a U-Net of every depth.

Zhou, Rahman Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA
2018 (and IEEE TMI 2020). `X[i,j]` sees every earlier node of its level and the enlarged one below:

```
image ── X[0,0] ── X[0,1] ── X[0,2]        X[i,j] = convolutions of (up(X[i+1,j-1]), X[i,0], ..., X[i,j-1])
            └─ X[1,0] ─┴─ X[1,1] ─┘        heads on X[0,1], X[0,2], ...: each scores the U-Net of that depth
                  └─ X[2,0] ─┘
```
Trained with deep supervision every node of the top row gives logits at full resolution, so that the network can be cut
at any depth afterwards (`depth`, the paper's pruning): deeper nodes are then not computed at all. Encoder, widths,
strides and convolutions per stage are the plan's; a level's nodes take the decoder's convolutions of that level.
"""

import torch
from torch import Tensor, nn

from segfw.core.plan import Configuration
from segfw.nn.blocks import CONVOLUTIONS, TRANSPOSED, ConvStack
from segfw.nn.unet import PlainEncoder, decoder_levels


class UNetPlusPlus(nn.Module):
    """A network from `(B, num_channels, *patch)` to logits `(B, num_heads, *patch)`.

    In evaluation mode, or with `deep_supervision` false: one tensor, of the U-Net of `depth` (None: the deepest). In
    training mode with `deep_supervision`: a list of one per depth, the deepest first, all at full resolution. Both
    attributes may be changed at any time. A plan of one stage has no depth to choose: its head follows the encoder.
    """

    def __init__(
        self, configuration: Configuration, num_channels: int, num_heads: int, *, deep_supervision: bool = True
    ) -> None:
        super().__init__()
        ndim = len(configuration.strides[0])
        one = (1,) * ndim
        self.encoder = PlainEncoder(configuration, num_channels)
        self.nodes, self.upsamplings = nn.ModuleDict(), nn.ModuleDict()
        levels = decoder_levels(configuration)[::-1]
        for i, level in enumerate(levels):
            for j in range(1, len(levels) - i + 1):
                width = level.features
                up = TRANSPOSED[ndim](level.below, width, level.stride, level.stride)
                self.upsamplings[_name(i, j)] = up
                self.nodes[_name(i, j)] = ConvStack(level.count, (j + 1) * width, width, level.kernel, one)
        self.seg_layers = nn.ModuleList(
            CONVOLUTIONS[ndim](configuration.features_per_stage[0], num_heads, one) for _ in range(max(1, len(levels)))
        )
        self.max_depth = len(levels)
        self.deep_supervision = deep_supervision
        self.depth: int | None = None

    @property
    def num_outputs(self) -> int:
        """How many outputs the next forward pass in training mode returns."""
        return max(1, self.max_depth) if self.deep_supervision else 1

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits: one tensor, or in training with deep supervision a list of them."""
        depth = self.max_depth if self.training or self.depth is None else self.depth
        top = self._top_row(image, depth)
        if self.training and self.deep_supervision:
            return [head(features) for head, features in zip(self.seg_layers, top[1:] or top, strict=True)][::-1]
        logits: Tensor = self.seg_layers[max(0, depth - 1)](top[-1])
        return logits

    def _top_row(self, image: Tensor, depth: int) -> list[Tensor]:
        """Compute X[0,0] to X[0,depth], one diagonal of the grid after the other."""
        grid: list[list[Tensor]] = []
        features = image
        for lowest in range(depth + 1):
            features = self.encoder.stages[lowest](features)
            grid.append([features])
            for j in range(1, lowest + 1):
                i = lowest - j
                enlarged = self.upsamplings[_name(i, j)](grid[i + 1][j - 1])
                grid[i].append(self.nodes[_name(i, j)](torch.cat((enlarged, *grid[i]), dim=1)))
        return grid[0]


def _name(level: int, column: int) -> str:
    """Name the node X[level,column]."""
    return f"{level}_{column}"


def build_unet_plus_plus(
    configuration: Configuration, num_channels: int, num_heads: int, deep_supervision: bool
) -> UNetPlusPlus:
    """Build the UNet++ of `configuration`."""
    return UNetPlusPlus(configuration, num_channels, num_heads, deep_supervision=deep_supervision)
