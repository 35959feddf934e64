"""A loss that the user brings: `loss._target_=my_package.MyLoss loss.arguments.gamma=0.75`.

It is called with keywords: `labels`, the dataset's `LabelSet`; `batch_dice`, whether overlaps are over the whole batch;
and its arguments. It returns a `torch.nn.Module` without parameters that takes logits and target, as `SegmentationLoss`
does, and returns a scalar, smaller where the segmentation is better. With deep supervision it is called for each output
with the target at that resolution. Several ranks average the gradients of their own shares of the batch.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.training import LossSettings
from segfw.core.support.importing import FOREIGN, TARGET, explained, import_object
from segfw.core.types import Shape

KEY = f"loss.{TARGET}"
BATCH, LARGEST_EDGE = 2, 32


class OwnLoss(nn.Module):
    """The user's loss where one of the package is expected: at each resolution it is all there is."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor, fine_share: float = 1.0) -> Tensor:
        """Return the loss of a batch; `fine_share` is for terms that a loss of the user's does not have."""
        loss: Tensor = self.loss(logits, target)
        return loss


def build_own_loss(settings: LossSettings, labels: LabelSet, batch_dice: bool) -> OwnLoss:
    """Import and call what `settings` name; `UsageError` if that cannot be, or gives no module without parameters."""
    target = settings.target or ""
    build = import_object(target, KEY)
    if not callable(build):
        raise UsageError(f"{KEY}: {target} is no class or function that makes a loss, got {type(build).__name__}")
    given = {"labels": labels, "batch_dice": batch_dice, **settings.arguments}
    loss = _call(settings, f"called with {', '.join(given)} it", lambda: build(**given))
    if not isinstance(loss, nn.Module):
        raise UsageError(f"{KEY}: {target} must give a torch.nn.Module, got {type(loss).__name__}")
    parameters = [name for name, _ in loss.named_parameters()]
    if parameters:
        raise UsageError(
            f"{KEY}: {target} must have no parameters, since only the network's are trained (constants are buffers), "
            f"got {parameters}"
        )
    return OwnLoss(loss)


def try_own_loss(settings: LossSettings, labels: LabelSet, patch_size: Shape) -> None:
    """Score random logits of a patch, of 32 voxels an edge at most, against random labels, and follow the gradient.

    Raises `UsageError` for what the user's loss raises, and for anything but a finite scalar with a gradient. Without
    a loss of the user's there is nothing to try.
    """
    if settings.target is None:
        return
    draw = torch.Generator().manual_seed(0)
    space = tuple(min(size, LARGEST_EDGE) for size in patch_size)
    logits = torch.randn(BATCH, labels.num_heads, *space, generator=draw).requires_grad_()
    target = random_target(labels, space, draw)
    loss = build_own_loss(settings, labels, batch_dice=bool(settings.batch_dice))
    given = f"given logits {tuple(logits.shape)} and a target {tuple(target.shape)} of {target.dtype}"
    value: Any = _call(settings, f"{given}, it", lambda: loss(logits, target))
    found = f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        raise UsageError(f"{KEY}: {settings.target} must return a scalar tensor, a float, got {found}")
    if not torch.isfinite(value):
        raise UsageError(f"{KEY}: {settings.target} must return a finite loss, {given}, got {value.item()}")
    if not value.requires_grad:
        raise UsageError(f"{KEY}: {settings.target} must follow from the logits with a gradient, got none")
    (gradient,) = _call(settings, f"differentiated, {given}, it", lambda: torch.autograd.grad(value, logits))
    if not torch.isfinite(gradient).all():
        raise UsageError(f"{KEY}: {settings.target} must have a finite gradient, {given}")


def random_target(labels: LabelSet, space: Shape, draw: torch.Generator) -> Tensor:
    """Draw what a loss is given for `labels`: int64 `(B, 1, *space)`, or with regions bool `(B, R, *space)`."""
    ignores = int(labels.ignore_value is not None)
    if labels.has_regions:
        return torch.rand(BATCH, labels.num_heads + ignores, *space, generator=draw) < 0.5
    return torch.randint(labels.num_heads + ignores, (BATCH, 1, *space), generator=draw)


def _call(settings: LossSettings, what: str, function: Callable[[], Any]) -> Any:
    """Call foreign code; a `UsageError` says what it raised and where."""
    try:
        return function()
    except FOREIGN as error:
        raise UsageError(f"{KEY}: {settings.target} does not work; {what} raised {explained(error)}") from error
