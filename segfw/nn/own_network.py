"""A network that the user brings: `network._target_=my_package.MyNet network.name=mine +network.arguments.width=32`.

It is called with keywords: `topology`, the planned configuration (`patch_size`, `strides`, `kernel_sizes`,
`features_per_stage`, `n_conv_per_stage`, `n_conv_per_stage_decoder`, ...); `num_channels`; `num_outputs`; and its
arguments. It returns a `torch.nn.Module` that keeps the protocol of `UNet`: images `(B, num_channels, *patch)` to
logits `(B, num_outputs, *patch)`; in training mode it may return a list of them, full resolution first, each further
one at a size that divides the patch. An attribute `deep_supervision`, if there is one, is set to the setting.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from segfw.core.cases.places import places_in
from segfw.core.errors import UsageError
from segfw.core.plan import Configuration
from segfw.core.settings.schema import NetworkSettings
from segfw.core.support.importing import FOREIGN, TARGET, explained, import_object

KEY = f"network.{TARGET}"
BATCH = 2
T = TypeVar("T")


def check_portable(settings: NetworkSettings) -> None:
    """Raise `UsageError` for arguments that name a place on this machine: they are packaged with the weights."""
    for key, text in places_in("network.arguments", dict(settings.arguments)):
        raise UsageError(
            f"{key}={text} names a place on this machine, which would go into the packaged model and mean nothing "
            "elsewhere; weights to begin with are given as pretrained.path=, and the network can find other files by "
            "itself, such as beside its own module"
        )


def build_own_network(
    settings: NetworkSettings, configuration: Configuration, num_channels: int, num_heads: int, deep_supervision: bool
) -> nn.Module:
    """Import and call what `settings` name; `UsageError` if that cannot be, or gives no module."""
    target = settings.target or ""
    build = import_object(target, KEY)
    if not callable(build):
        raise UsageError(f"{KEY}: {target} is no class or function that makes a network, got {type(build).__name__}")
    given = {"topology": configuration, "num_channels": num_channels, "num_outputs": num_heads, **settings.arguments}
    network = _call(settings, f"called with {', '.join(given)} it", lambda: build(**given))
    if not isinstance(network, nn.Module):
        raise UsageError(f"{KEY}: {target} must give a torch.nn.Module, got {type(network).__name__}")
    _call(settings, "told its deep_supervision it", lambda: _supervise(network, deep_supervision))
    return network


def _supervise(network: nn.Module, deep_supervision: bool) -> None:
    if hasattr(network, "deep_supervision"):
        network.deep_supervision = deep_supervision  # type: ignore[assignment]


def without_values(build: Callable[[], T]) -> T:
    """Return what `build` gives on PyTorch's meta device, or on the CPU where a network of the user's needs values."""
    try:
        with torch.device("meta"):
            return build()
    except UsageError as error:
        if error.__cause__ is None:
            raise
    with torch.random.fork_rng(devices=[]):
        return build()


def try_own_network(
    settings: NetworkSettings, configuration: Configuration, num_channels: int, num_heads: int
) -> nn.Module:
    """Build the user's network and pass a batch of patches through it, without computing anything where that goes.

    Returns it on PyTorch's meta device, or on the CPU if something refuses to work without values. Raises `UsageError`
    for what it raises and for outputs of a wrong form.
    """

    def build() -> nn.Module:
        network = build_own_network(settings, configuration, num_channels, num_heads, deep_supervision=True)
        batch = BATCH if torch.get_default_device().type == "meta" else 1
        _try(settings, network, torch.zeros(batch, num_channels, *configuration.patch_size), num_heads)
        return network

    return without_values(build)


@torch.no_grad()
def _try(settings: NetworkSettings, network: nn.Module, image: Tensor, num_heads: int) -> None:
    shape = (len(image), num_heads, *image.shape[2:])
    size = " x ".join(map(str, image.shape[2:]))
    trained = _call(settings, f"in training, given patches of {size}, it", lambda: network.train()(image))
    outputs = trained if isinstance(trained, list) else [trained]
    if not outputs:
        raise UsageError(f"{KEY}: {settings.target} must return logits in training, got an empty list")
    _check_shape(settings, "in training", outputs[0], shape)
    for output in outputs[1:]:
        _check_reduced(settings, output, shape)
    evaluated = _call(settings, f"in evaluation, given patches of {size}, it", lambda: network.eval()(image))
    _check_shape(settings, "in evaluation", evaluated, shape)


def _check_shape(settings: NetworkSettings, when: str, output: Any, shape: tuple[int, ...]) -> None:
    """Refuse anything but logits of one value per head and voxel of the patch."""
    found = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if found != shape:
        raise UsageError(
            f"{KEY}: {settings.target} must return logits of shape {shape} {when} (batch, outputs, *patch; in training "
            f"a list is allowed, full resolution first), got {found}"
        )


def _check_reduced(settings: NetworkSettings, output: Any, shape: tuple[int, ...]) -> None:
    """Refuse a further output whose size does not divide the patch."""
    found = tuple(output.shape) if isinstance(output, Tensor) else ()
    fits = len(found) == len(shape) and found[:2] == shape[:2]
    if not fits or any(not n or full % n for full, n in zip(shape[2:], found[2:], strict=True)):
        raise UsageError(
            f"{KEY}: {settings.target} must return further outputs of shape {shape[:2]} and a size that divides the "
            f"patch {shape[2:]}, got {found or type(output).__name__}"
        )


def _call(settings: NetworkSettings, what: str, function: Callable[[], Any]) -> Any:
    """Call foreign code; a `UsageError` says what it raised and where."""
    try:
        return function()
    except FOREIGN as error:
        raise UsageError(f"{KEY}: {settings.target} does not work; {what} raised {explained(error)}") from error
