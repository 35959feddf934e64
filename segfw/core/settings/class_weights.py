"""Weights of classes in the loss, given by name or in the network's order."""

import math
from collections.abc import Mapping, Sequence

from segfw.core.errors import UsageError
from segfw.core.labels import BACKGROUND, LabelSet
from segfw.core.support.conversion import nearest

KEY = "loss.class_weights"


def weight_per_class(given: Mapping[str, float] | Sequence[float] | None, labels: LabelSet) -> tuple[float, ...] | None:
    """Return one weight per channel of the network, None if none are given; names left out weigh 1.

    Raises `UsageError` for a name that is no label, another number of weights, and weights that teach nothing.
    """
    if given is None:
        return None
    names = class_names(labels)
    if isinstance(given, Mapping):
        for name in given:
            if name not in names:
                raise UsageError(f"{KEY}: {name!r} is no class{nearest(name, names)}; there are {names}")
        weights = tuple(float(given.get(name, 1.0)) for name in names)
    else:
        weights = tuple(float(weight) for weight in given)
    if len(weights) != len(names):
        raise UsageError(f"{KEY} needs {len(names)} weights, of {names} in this order, got {list(weights)}")
    check_class_weights(weights)
    return weights


def class_names(labels: LabelSet) -> list[str]:
    """Return the names of the network's channels: regions, or background and then the labels by value."""
    names = [name for name, _ in labels.foreground]
    return names if labels.has_regions else [BACKGROUND, *names]


def check_class_weights(weights: Sequence[float]) -> None:
    """Raise `UsageError` unless all `weights` are finite and at least 0, and one above."""
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise UsageError(f"{KEY} must be at least 0 and not all 0, got {list(weights)}")
