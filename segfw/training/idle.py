"""Parameters that a network holds but does not use, as the heads of resolutions that nothing supervises.

Alone they harm nobody. Several ranks, which wait for every gradient, would wait for theirs.
"""

import copy
import logging

import torch
from torch import Tensor, nn

from segfw.core.types import Shape

log = logging.getLogger(__name__)


def idle_parameters(network: nn.Module, image: Shape) -> list[str]:
    """Return the names of the parameters that get no gradient from what `network` makes of an image `(B, C, *space)`.

    Found on tensors without content, which takes milliseconds. Empty for a network that cannot be run on such; its idle
    parameters, if any, are named by PyTorch when it trains.
    """
    twin = copy.deepcopy(network).to("meta")
    try:
        outputs = twin(torch.empty(image, device="meta"))
        torch.stack([output.sum() for output in _tensors(outputs)]).sum().backward()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        log.info("which parameters are idle cannot be told without computing: %s", str(error).splitlines()[0])
        return []
    return [name for name, parameter in twin.named_parameters() if parameter.grad is None]


def freeze_idle_parameters(network: nn.Module, image: Shape) -> None:
    """Tell PyTorch not to wait for the gradients of idle parameters; it changes nothing else."""
    idle = set(idle_parameters(network, image))
    for name, parameter in network.named_parameters():
        if name in idle:
            parameter.requires_grad_(False)


def _tensors(outputs: Tensor | list[Tensor]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)
