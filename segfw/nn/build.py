"""From a configuration of the plan to a network with fresh weights."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.plan import Configuration
from segfw.core.settings.schema import NetworkSettings
from segfw.core.types import Shape
from segfw.nn.bayesian_unet import ChannelDropout, build_bayesian_unet, check_dropout
from segfw.nn.blocks import CONVOLUTIONS, NEGATIVE_SLOPE, TRANSPOSED, ResidualBlock
from segfw.nn.norm import CHANNELS_LAST, InstanceNorm
from segfw.nn.own_network import build_own_network
from segfw.nn.residual_unet import build_residual_unet
from segfw.nn.unet import build_unet
from segfw.nn.unet_plus_plus import UNetPlusPlus, build_unet_plus_plus
from segfw.nn.vnet import build_vnet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "unet": build_unet,
    "residual_unet": build_residual_unet,
    "vnet": build_vnet,
    "unet_plus_plus": build_unet_plus_plus,
    "bayesian_unet": build_bayesian_unet,
}
"""Name -> builder; what is keyword-only in its signature may be given as `network.arguments`."""
CONVOLUTION_TYPES: tuple[Any, ...] = (*CONVOLUTIONS.values(), *TRANSPOSED.values())
NORM_TYPES: tuple[Any, ...] = (InstanceNorm,)
PRELU_SLOPE = 0.25
_SHOWN = 5


def build_network(
    configuration: Configuration,
    num_channels: int,
    num_heads: int,
    deep_supervision: bool = True,
    network: NetworkSettings | str = "planned",
) -> nn.Module:
    """Build the network of `configuration`: `planned` is the configuration's own; a name stands for its settings.

    Its weights are not yet those to train from: `fresh_network`, or load some. What networks return, and when, is
    told by `UNet`. Raises `UsageError` for an unknown name, for arguments that the network does not take, and for code
    of the user's that cannot be imported or called.
    """
    settings = NetworkSettings(network) if isinstance(network, str) else network
    if settings.target is not None:
        return build_own_network(settings, configuration, num_channels, num_heads, deep_supervision)
    build = _builder(configuration.architecture if settings.name == "planned" else settings.name, settings)
    return build(configuration, num_channels, num_heads, deep_supervision, **settings.arguments)


def network_shapes(
    configuration: Configuration, num_channels: int, num_heads: int, network: NetworkSettings | str = "planned"
) -> dict[str, Shape]:
    """Return name -> shape of every tensor of a network of this package, in its order; no memory is used."""
    with torch.device("meta"):
        built = build_network(configuration, num_channels, num_heads, network=network)
    return {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}


def check_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> None:
    """Raise `ArtefactError` that names what is missing, what is too much and what has another shape than `shapes`."""
    missing = [name for name in shapes if name not in weights]
    unexpected = [name for name in weights if name not in shapes]
    other = [
        f"{name} {tuple(weights[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    problems = [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds if names]
    if problems:
        raise ArtefactError(f"the weights do not fit the planned network; {'; '.join(problems)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def check_arguments(settings: NetworkSettings) -> None:
    """Raise `UsageError` for arguments that a network of this package does not take, or that are out of range."""
    if settings.target is not None:
        return
    _builder("unet" if settings.name == "planned" else settings.name, settings)
    if "dropout" in settings.arguments:
        check_dropout(settings.arguments["dropout"])


def _builder(name: str, settings: NetworkSettings) -> Callable[..., nn.Module]:
    if name not in NETWORKS:
        raise UsageError(f"network must be 'planned' or one of {sorted(NETWORKS)}, got {name!r}")
    parameters = inspect.signature(NETWORKS[name]).parameters.values()
    allowed = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = sorted(set(settings.arguments) - set(allowed))
    if unknown:
        raise UsageError(f"network.arguments: {name} takes {allowed or 'none'}, got {unknown}")
    return NETWORKS[name]


def fresh_network(
    configuration: Configuration,
    num_channels: int,
    num_heads: int,
    deep_supervision: bool,
    settings: NetworkSettings,
    seed: int,
) -> nn.Module:
    """Build a network with the weights that training starts from; a user's own draws them itself, from `seed`."""
    if settings.target is None:
        network = build_network(configuration, num_channels, num_heads, deep_supervision, settings)
        initialize(network, seed)
        return network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(configuration, num_channels, num_heads, deep_supervision, settings)


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator | int) -> None:
    """Draw the weights in place from `generator` (or from a new one with this seed), in the order of the modules.

    Convolutions: He's normal initialization for leaky ReLU over the fan-in; biases 0; norms 1 and 0; PReLU's slopes
    1/4. The second norm of each residual block is 0 altogether, so that such a block starts as its shortcut.
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
        elif isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, PRELU_SLOPE)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            for parameter in module.conv2.norm.parameters():
                nn.init.zeros_(parameter)


def lay_channels_last(network: nn.Module, configuration: Configuration) -> None:
    """Let a network of `configuration` compute in the layout that is faster on a processor, in place."""
    network.to(memory_format=CHANNELS_LAST[len(configuration.patch_size)])  # type: ignore[call-overload]


def cut(network: nn.Module, depth: int | None) -> None:
    """Let a UNet++ predict with its U-Net of `depth` (None: its deepest); `UsageError` for what cannot be cut so."""
    if isinstance(network, UNetPlusPlus):
        if depth is not None and not 1 <= depth <= network.max_depth:
            raise UsageError(f"inference.depth must be between 1 and {network.max_depth} for this model, got {depth}")
        network.depth = depth
    elif depth is not None:
        raise UsageError(f"inference.depth={depth} cuts a unet_plus_plus; this model is another network")


def has_dropout(network: nn.Module) -> bool:
    """Whether `network` can be sampled: its channels are dropped in prediction, too."""
    return any(isinstance(module, ChannelDropout) for module in network.modules())


def draw_dropout(network: nn.Module, generator: torch.Generator | None) -> None:
    """Draw one sample of a network with dropout; None goes back to its mean."""
    for module in network.modules():
        if isinstance(module, ChannelDropout):
            module.draw(generator)
