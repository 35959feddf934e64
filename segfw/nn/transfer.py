"""Beginning a training with another model's weights: which tensors are taken, adapted, or left as they were drawn.

Tensors are matched by name. Where the image's channels or the labels differ, only the layers at the two ends of a
network can tell: they are found by building it for one more channel, or label, and looking what changes its shape. So
any architecture will do, also a user's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from segfw.core.errors import UsageError
from segfw.nn.own_network import without_values

OnMismatch = Literal["error", "adapt", "skip"]
SHOWN = 5


@dataclass(frozen=True)
class Ends:
    """Names of the tensors whose shape follows the image's channels (`inputs`) and the labels (`heads`)."""

    inputs: frozenset[str]
    heads: frozenset[str]


@dataclass(frozen=True, eq=False)
class Transfer:
    """What a network takes over.

    `weights`: name -> tensor to load; `taken`: names of those that are the source's own; `adapted`: name -> how;
    `left`: name of a tensor that keeps its fresh values -> why; `unused`: of the source, what the network has no place
    for.
    """

    weights: dict[str, Tensor]
    taken: tuple[str, ...]
    adapted: dict[str, str]
    left: dict[str, str]
    unused: tuple[str, ...]

    def summary(self) -> str:
        """Return the numbers in one line."""
        return (
            f"{len(self.taken)} tensors taken, {len(self.adapted)} adapted, {len(self.left)} left fresh, "
            f"{len(self.unused)} of the source unused"
        )

    @property
    def is_mostly_fresh(self) -> bool:
        """Whether more than half of the network's tensors are left as they were drawn."""
        return 2 * len(self.left) > len(self.taken) + len(self.adapted) + len(self.left)

    def lines(self) -> list[str]:
        """Return a line for each tensor."""
        return [
            *(f"taken    {name}" for name in self.taken),
            *(f"adapted  {name}: {how}" for name, how in self.adapted.items()),
            *(f"left     {name}: {why}" for name, why in self.left.items()),
            *(f"unused   {name}" for name in self.unused),
        ]


def find_ends(build: Callable[[int, int], nn.Module], num_channels: int, num_heads: int) -> Ends:
    """Find the tensors at both ends of the networks that `build(num_channels, num_heads)` gives.

    No memory is used, unless a network of the user's cannot be built without.
    """
    own, wider, more = (
        {name: tensor.shape for name, tensor in without_values(partial(build, *counts)).state_dict().items()}
        for counts in ((num_channels, num_heads), (num_channels + 1, num_heads), (num_channels, num_heads + 1))
    )
    inputs = frozenset(name for name, shape in own.items() if wider.get(name) != shape)
    return Ends(inputs, frozenset(name for name, shape in own.items() if more.get(name) != shape) - inputs)


def transfer(
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    ends: Ends,
    same_labels: bool | None,
    on_mismatch: OnMismatch,
) -> Transfer:
    """Match the tensors of `source` to those of the network's own `target`, which stay as they are.

    Heads are taken where they stand for the same labels, in the same order (`same_labels`), and never where the source
    does not say for which (None), as nnU-Net does. What else does not fit raises `UsageError` with
    `on_mismatch="error"`; "adapt" fits input layers to the number of channels; "adapt" and "skip" leave the rest
    fresh. Raises `UsageError` too where nothing at all would be taken.
    """
    weights: dict[str, Tensor] = {}
    taken, adapted, left, wrong = [], {}, {}, {}
    for name, tensor in target.items():
        other = source.get(name)
        if name in ends.heads and other is not None and not (same_labels and other.shape == tensor.shape):
            left[name] = _why_new(same_labels, tensor, other)
            if same_labels is not None or other.shape != tensor.shape:
                wrong[name] = left[name]
        elif other is None:
            wrong[name] = left[name] = f"not in the source, {_shape(tensor)} here"
        elif other.shape == tensor.shape:
            weights[name] = other
            taken.append(name)
        elif name in ends.inputs and _differ_in_channels(tensor, other):
            wrong[name] = f"{other.shape[1]} channels there, {tensor.shape[1]} here"
            if on_mismatch == "adapt":
                weights[name] = adapt_channels(other, tensor.shape[1])
                adapted[name] = wrong[name]
            else:
                left[name] = wrong[name]
        else:
            wrong[name] = left[name] = f"{_shape(other)} there, {_shape(tensor)} here"
    unused = tuple(name for name in source if name not in target)
    if wrong and on_mismatch == "error":
        raise _mismatch(wrong, len(target))
    if not weights:
        raise UsageError(
            f"pretrained: none of the {len(source)} tensors fits the network's {len(target)}; it has "
            f"{_some(list(target))}, the source has {_some(list(source))}"
        )
    return Transfer(weights, tuple(taken), adapted, left, unused)


def adapt_channels(weight: Tensor, num_channels: int) -> Tensor:
    """Return a first convolution's weight `(out, channels, ...)` for another number of channels.

    Every channel gets the sum over the old ones, divided by the new number: an image that is repeated over the
    channels gives what its mean over the old channels gave.
    """
    total = weight.sum(dim=1, keepdim=True, dtype=torch.float64) / num_channels
    return total.to(weight.dtype).repeat_interleave(num_channels, dim=1)


def _differ_in_channels(tensor: Tensor, other: Tensor) -> bool:
    """Whether two convolution weights differ in axis 1 alone."""
    return tensor.ndim == other.ndim > 2 and (tensor.shape[0], *tensor.shape[2:]) == (other.shape[0], *other.shape[2:])


def _why_new(same_labels: bool | None, tensor: Tensor, other: Tensor) -> str:
    if tensor.shape != other.shape:
        return f"a new head: {_shape(other)} there, {_shape(tensor)} here"
    return "a new head: other labels" if same_labels is False else "a new head: the source states no labels"


def _mismatch(wrong: Mapping[str, str], total: int) -> UsageError:
    rows = "\n".join(f"  {name}: {why}" for name, why in list(wrong.items())[:SHOWN])
    more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return UsageError(
        f"pretrained: {len(wrong)} of the network's {total} tensors do not fit:\n{rows}{more}\n"
        "pretrained.on_mismatch=adapt averages or repeats input channels and makes new heads, leaving fresh what fits "
        "in no way; pretrained.on_mismatch=skip leaves all of them fresh"
    )


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
