"""What the keys of the loss demand of one another."""

import dataclasses
from collections.abc import Mapping, Sequence

from segfw.core.errors import UsageError
from segfw.core.settings.class_weights import check_class_weights
from segfw.core.settings.training import LossSettings

WEIGHTS = ("ce_weight", "dice_weight", "cldice_weight", "component_weight")

# Key that only matters with certain terms -> the key that chooses the term, and the choices with which it matters.
NEEDS = {
    "focal_gamma": ("distribution", ("focal",)),
    "topk_share": ("distribution", ("topk",)),
    "label_smoothing": ("distribution", ("ce", "topk")),
    "tversky_alpha": ("overlap", ("tversky",)),
    "tversky_beta": ("overlap", ("tversky",)),
    "tversky_exponent": ("overlap", ("tversky",)),
}
# Key -> the weight without which it does nothing.
WEIGHED_BY = {
    "distribution": "ce_weight",
    "overlap": "dice_weight",
    "class_weights": "ce_weight",
    "label_smoothing": "ce_weight",
    "cldice_iterations": "cldice_weight",
}


OF_OWN = ("_target_", "arguments", "batch_dice", "deep_supervision")
"""Keys that a loss of the user's leaves in effect."""
GIVEN = ("labels", "batch_dice")
"""What every loss of the user's is called with."""


def check_loss(loss: LossSettings) -> None:
    """Raise `UsageError` for a loss of no terms, and for a key that was given and has no effect beside the others."""
    default = LossSettings()
    given = [f.name for f in dataclasses.fields(loss) if getattr(loss, f.name) != getattr(default, f.name)]
    if loss.target is not None:
        _check_own(loss, given)
        return
    if loss.arguments:
        raise UsageError(f"{_shown(loss, 'arguments')} needs loss._target_=my_package.MyLoss, got null")
    if not any(getattr(loss, weight) for weight in WEIGHTS):
        names = ", ".join(f"loss.{weight}" for weight in WEIGHTS)
        raise UsageError(f"{names} are all 0, so there would be nothing to learn")
    if loss.class_weights is not None:
        weights = loss.class_weights
        check_class_weights(tuple(weights.values() if isinstance(weights, Mapping) else weights))
    if loss.overlap == "tversky" and loss.tversky_alpha == loss.tversky_beta == 0:
        raise UsageError("loss.tversky_alpha and loss.tversky_beta are both 0, so that no error would count")
    for key in given:
        chooser, choices = NEEDS.get(key, ("", ()))
        if chooser and getattr(loss, chooser) not in choices:
            wanted = " or ".join(f"loss.{chooser}={choice}" for choice in choices)
            raise UsageError(f"{_shown(loss, key)} needs {wanted}, got {_shown(loss, chooser)}")
        weight = WEIGHED_BY.get(key)
        if weight and not getattr(loss, weight):
            raise UsageError(f"{_shown(loss, key)} would have no effect, since loss.{weight} is 0")


def _check_own(loss: LossSettings, given: Sequence[str]) -> None:
    """Refuse what has no effect beside a loss of the user's, and arguments under names that are taken."""
    idle = [_shown(loss, key) for key in given if key not in OF_OWN]
    if idle:
        raise UsageError(f"{' '.join(idle)} would have no effect, since loss._target_={loss.target} is the whole loss")
    taken = sorted({*GIVEN} & set(loss.arguments))
    if taken:
        raise UsageError(f"loss.arguments must not hold {taken}, which every loss is given")


def _shown(loss: LossSettings, key: str) -> str:
    value = getattr(loss, key)
    return f"loss.{key}={list(value) if isinstance(value, tuple) else value}"
