"""The Bayesian U-Net: dropout that goes on in prediction, so that several predictions tell how sure the model is.

After Orlando et al., "U2-Net: A Bayesian U-Net model with epistemic uncertainty feedback for photoreceptor layer
segmentation in pathological OCT scans", ISBI 2019, and Gal, Ghahramani, "Dropout as a Bayesian Approximation:
Representing Model Uncertainty in Deep Learning", ICML 2016. It is the planned U-Net with dropout behind every stage of
encoder and decoder; the parameters have the U-Net's names, so that its weights can be the start.

Dropout removes whole channels. A convolution's weights are the same at every voxel, so that a sample of the weights is
one choice of channels for the whole image: `draw` makes such a choice, which then holds for all windows and mirrored
passes. Choosing anew for each would average most of the uncertainty away.
"""

import torch
from torch import Tensor, nn

from segfw.core.errors import UsageError
from segfw.core.plan import Configuration
from segfw.nn.unet import PlainEncoder, UNet, plain_decoder

DROPOUT = 0.2


class ChannelDropout(nn.Module):
    """Sets channels to 0 with probability `rate` and scales the others by 1 / (1 - rate).

    Training: chosen anew for each sample of the batch. Evaluation: as it was drawn last; without a draw nothing is
    removed, which stands for the mean network.
    """

    def __init__(self, channels: int, rate: float) -> None:
        super().__init__()
        self.channels, self.rate = channels, rate
        self.drawn: Tensor | None = None

    def draw(self, generator: torch.Generator | None) -> None:
        """Choose the channels of one sample of the network (None: remove no more). Drawn on the CPU."""
        self.drawn = None
        if generator is not None:
            self.drawn = (torch.rand(1, self.channels, generator=generator) >= self.rate) / (1 - self.rate)

    def forward(self, x: Tensor) -> Tensor:
        """Remove channels of `(B, channels, *space)`."""
        if self.training:
            kept = torch.empty(x.shape[:2], dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
            factor = kept / (1 - self.rate)
        elif self.drawn is not None:
            self.drawn = factor = self.drawn.to(x.device)
        else:
            return x
        return x * factor.to(x.dtype).view(*factor.shape, *[1] * (x.ndim - 2))


def check_dropout(dropout: object) -> None:
    """Raise `UsageError` for a rate that is no number between 0 and 1."""
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 < dropout < 1:
        raise UsageError(f"network.arguments.dropout must be above 0 and below 1, got {dropout!r}")


def build_bayesian_unet(
    configuration: Configuration,
    num_channels: int,
    num_heads: int,
    deep_supervision: bool,
    *,
    dropout: float = DROPOUT,
) -> UNet:
    """Build the U-Net of `configuration` with dropout behind each stage; `UsageError` for a rate outside 0 to 1."""
    check_dropout(dropout)
    encoder, decoder = PlainEncoder(configuration, num_channels), plain_decoder(configuration, num_heads)
    features = configuration.features_per_stage
    # Appended to the last sequence of each stage, so that every parameter keeps the name that it has in the U-Net.
    ends = [*encoder.stages, *(stage.convs for stage in decoder.stages)]
    for end, width in zip(ends, (*features, *features[-2::-1]), strict=True):
        end.append(ChannelDropout(width, dropout))
    return UNet(encoder, decoder, deep_supervision=deep_supervision)
