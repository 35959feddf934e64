"""Soft skeletons: thinning of probability maps by minima and maxima over neighbours, so that gradients pass through."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Pairwise = Callable[[Tensor, Tensor], Tensor]


def soft_skeleton(masks: Tensor, iterations: int) -> Tensor:
    """Return the soft skeletons of `(B, K, *space)` in [0, 1], one or more axes of space (Shit et al. 2021).

    What an opening removes is skeleton; then the mask is eroded, `iterations` times. That should be the largest
    radius in voxels: of thicker structures the innermost part is lost.
    """
    eroded = _eroded(masks)
    skeleton = torch.relu(masks - _dilated(eroded))
    for _ in range(iterations):
        masks, eroded = eroded, _eroded(eroded)
        removed = torch.relu(masks - _dilated(eroded))
        skeleton = skeleton + torch.relu(removed - skeleton * removed)
    return skeleton


def _eroded(masks: Tensor) -> Tensor:
    """Take the minimum over a voxel and its neighbours by face; there are none beyond the border."""
    smallest, *others = (_among_three(masks, axis, torch.minimum) for axis in range(2, masks.ndim))
    for other in others:
        smallest = torch.minimum(smallest, other)
    return smallest


def _dilated(masks: Tensor) -> Tensor:
    """Take the maximum over a voxel and all its neighbours, those by edge and corner too."""
    for axis in range(2, masks.ndim):
        masks = _among_three(masks, axis, torch.maximum)
    return masks


def _among_three(values: Tensor, axis: int, extreme: Pairwise) -> Tensor:
    result: Tensor = _Extreme.apply(values, axis, extreme)  # type: ignore[no-untyped-call]  # torch does not annotate apply
    return result


class _Extreme(torch.autograd.Function):
    """Minimum or maximum, as `extreme` of two tensors has it, over a voxel and its two neighbours along an axis.

    Of equal values the first takes the gradient. On a CPU forward and backward take a third of what pooling takes, and
    two masks are kept instead of an index of eight bytes a voxel.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, axis: int, extreme: Pairwise) -> Tensor:
        last = values.shape[axis] - 1
        first_of_pair, pair = _winner(values.narrow(axis, 0, last), values.narrow(axis, 1, last), extreme)
        left = torch.cat((values.narrow(axis, 0, 1), pair), axis)
        right = torch.cat((pair, values.narrow(axis, last, 1)), axis)
        left_wins, result = _winner(left, right, extreme)
        ctx.save_for_backward(first_of_pair, left_wins)
        ctx.axis = axis
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        first_of_pair, left_wins = ctx.saved_tensors
        axis, gradient = ctx.axis, gradients[0]
        last = gradient.shape[axis] - 1
        to_left = gradient * left_wins
        to_right = gradient - to_left
        to_pair = to_left.narrow(axis, 1, last) + to_right.narrow(axis, 0, last)
        to_first = to_pair * first_of_pair
        result = torch.zeros_like(gradient)
        result.narrow(axis, 0, last).add_(to_first)
        result.narrow(axis, 1, last).add_(to_pair.sub_(to_first))
        result.select(axis, 0).add_(to_left.select(axis, 0))
        result.select(axis, last).add_(to_right.select(axis, last))
        return result, None, None


def _winner(first: Tensor, second: Tensor, extreme: Pairwise) -> tuple[Tensor, Tensor]:
    found = extreme(first, second)
    return found == first, found
