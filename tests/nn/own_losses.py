"""Losses as users might bring them."""

import torch
from torch import nn


class Square(nn.Module):
    """The mean squared distance of the first channel from the target, times a factor."""

    def __init__(self, labels, batch_dice, factor=1.0):
        super().__init__()
        self.labels, self.batch_dice, self.factor = labels, batch_dice, factor

    def forward(self, logits, target):
        return self.factor * (logits[:, :1] - target[:, :1].float()).square().mean()


class PerSample(Square):
    """Returns a value for each sample."""

    def forward(self, logits, target):
        return logits.flatten(1).mean(1)


class Infinite(Square):
    """Divides by zero."""

    def forward(self, logits, target):
        return logits.mean() / 0


class Steep(Square):
    """Is finite, but has no finite gradient."""

    def forward(self, logits, target):
        return (logits * 0).square().sum().sqrt()


class Cut(Square):
    """Does not follow from the logits."""

    def forward(self, logits, target):
        return torch.zeros(())


class Learns(Square):
    """Has a parameter of its own."""

    def __init__(self, labels, batch_dice):
        super().__init__(labels, batch_dice)
        self.scale = nn.Parameter(torch.ones(()))


class Broken(Square):
    """Fails when it is used."""

    def forward(self, logits, target):
        raise KeyError("nothing here")


def no_module(labels, batch_dice):
    return "a loss"


number = 3
