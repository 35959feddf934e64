"""The second stage of a cascade: its network sees the image and, one channel per label, the previous segmentation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def append_one_hot(image: Tensor, segmentation: Tensor, values: Sequence[int]) -> Tensor:
    """Return images (B, C, *F) followed by one channel per value, 1 where the segmentation (B, 1, *F) has it.

    The values stay numbers of the host: a tensor of them would have to be waited for on a GPU.
    """
    return torch.cat([image, *((segmentation == value).to(image.dtype) for value in values)], dim=1)


class FedNetwork(nn.Module):
    """A second stage that takes windows whose last channel is the previous label map, `values` of which it is told.

    One channel rather than one per label is what a whole case has to be held with.
    """

    def __init__(self, network: nn.Module, values: Sequence[int]) -> None:
        super().__init__()
        self.network, self.values = network, tuple(values)

    def forward(self, windows: Tensor) -> Tensor:
        """Return the logits of windows (B, C + 1, *F); beyond the image the last channel is 0, background."""
        logits: Tensor = self.network(append_one_hot(windows[:, :-1], windows[:, -1:], self.values))
        return logits
