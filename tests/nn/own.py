"""Networks as users might bring them."""

import os
import signal

import torch
from torch import nn


class MyNet(nn.Module):
    """Two convolutions; in training also the logits at half resolution."""

    def __init__(self, topology, num_channels, num_outputs, width=4):
        super().__init__()
        ndim = len(topology.patch_size)
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
        self.body = nn.Sequential(convolution(num_channels, width, 3, padding=1), nn.LeakyReLU())
        self.head = convolution(width, num_outputs, 1)
        self.deep_supervision = True
        self.pool = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[ndim](2)

    def forward(self, image):
        logits = self.head(self.body(image))
        return [logits, self.pool(logits)] if self.training and self.deep_supervision else logits


class Values(MyNet):
    """Looks at values while it is built, so that it cannot be built without."""

    def __init__(self, topology, num_channels, num_outputs):
        super().__init__(topology, num_channels, num_outputs)
        self.scale = float(torch.ones(3).sum().item())


class Half(MyNet):
    """Returns half the resolution."""

    def forward(self, image):
        return self.pool(super().forward(image)[0] if self.training else super().forward(image))


class Third(MyNet):
    """Returns a further output of a size that does not divide the patch."""

    def forward(self, image):
        logits = self.head(self.body(image))
        return [logits, logits[..., :-1]] if self.training else logits


class Broken(MyNet):
    """Fails when it is used."""

    def forward(self, image):
        raise KeyError("nothing here")


class Odd(Exception):
    """Of no kind that Python knows."""


class Raises(MyNet):
    """Raises in its constructor what it is asked to."""

    def __init__(self, topology, num_channels, num_outputs, kind):
        super().__init__(topology, num_channels, num_outputs)
        raise {"own": Odd, "plain": Exception, "stop": StopIteration, "exit": SystemExit}[kind]("no\nmore")


class Locked(MyNet):
    """Has a deep_supervision that cannot be set."""

    deep_supervision = property(lambda self: True, lambda self, value: self.refuse(value))

    def refuse(self, value):
        raise Odd("locked")


def no_module(topology, num_channels, num_outputs):
    return "a network"


number = 3


class Deadly(MyNet):
    """Kills its process at the sight of a large value in the second channel."""

    def forward(self, image):
        if (image[:, 1] > 100).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(image)
