"""Soft skeletons of shapes whose skeleton is plain to see, and gradients against differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segfw.nn.skeleton import soft_skeleton


def test_a_line_is_its_own_skeleton() -> None:
    line = torch.zeros(1, 1, 5, 9)
    line[..., 2, 1:8] = 1
    assert torch.equal(soft_skeleton(line, 3), line)


def test_a_bar_shrinks_to_its_middle() -> None:
    bar = torch.zeros(1, 1, 7, 11)
    bar[..., 2:5, 1:10] = 1
    middle = torch.zeros_like(bar)
    middle[..., 3, 2:9] = 1
    assert torch.equal(soft_skeleton(bar, 2) * (1 - middle), torch.zeros_like(bar))
    assert torch.equal(soft_skeleton(bar, 2)[..., 3, 2:9], torch.ones(1, 1, 7))
    assert not soft_skeleton(bar, 2)[..., 2, 4:7].any()


def test_of_what_is_thicker_than_the_iterations_the_middle_is_lost() -> None:
    block = torch.zeros(1, 1, 11, 11, 11)
    block[..., 1:10, 1:10, 1:10] = 1  # radius 4
    assert soft_skeleton(block, 4)[0, 0, 5, 5, 5] == 1
    assert soft_skeleton(block, 2)[0, 0, 5, 5, 5] == 0


def pooled(masks: Tensor, iterations: int) -> Tensor:
    """The published formula with pooling, erosion by faces and dilation by the whole neighbourhood."""
    pool = (F.max_pool2d, F.max_pool3d)[masks.ndim - 4]

    def eroded(m: Tensor) -> Tensor:
        n = m.ndim - 2
        windows = [tuple(3 if i == axis else 1 for i in range(n)) for axis in range(n)]
        return torch.stack([-pool(-m, w, 1, tuple(k // 2 for k in w)) for w in windows]).amin(0)

    skeleton = torch.relu(masks - pool(eroded(masks), 3, 1, 1))
    for _ in range(iterations):
        masks = eroded(masks)
        removed = torch.relu(masks - pool(eroded(masks), 3, 1, 1))
        skeleton = skeleton + torch.relu(removed - skeleton * removed)
    return skeleton


@pytest.mark.parametrize("shape", [(2, 2, 9, 8), (1, 2, 6, 7, 5), (1, 1, 1, 6, 6)])
def test_equals_the_formula_by_pooling(shape: tuple[int, ...]) -> None:
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(soft_skeleton(masks, 3), pooled(masks, 3))


@pytest.mark.parametrize("shape", [(1, 1, 5, 6), (1, 1, 3, 4, 3)])
def test_the_gradient_is_that_of_differences(shape: tuple[int, ...]) -> None:
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: soft_skeleton(m, 2), (masks,))
