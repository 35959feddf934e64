"""Probabilities and entropies against PyTorch's own, and their gradients against differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segfw.nn.voxel_scores import _SoftmaxEntropy, sigmoid_scores, softmax_scores


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_softmax_scores_are_those_of_pytorch() -> None:
    logits, target = 5 * drawn(2, 3, 4, 5, 6), torch.arange(240).view(2, 1, 4, 5, 6) % 3
    scores = softmax_scores(logits, target, False, None, 0.0)
    torch.testing.assert_close(scores.probabilities, logits.softmax(1))
    torch.testing.assert_close(scores.entropies[:, 0], F.cross_entropy(logits, target[:, 0], reduction="none"))
    assert torch.equal(scores.truth, F.one_hot(target[:, 0], 3).movedim(-1, 1).float())
    assert (scores.weights, scores.count, scores.first) == (None, 240, 1)


def test_entropies_of_hopeless_voxels_stay_finite_and_those_of_certain_ones_at_least_0() -> None:
    logits = torch.tensor([[300.0, 0.0], [0.0, 300.0]]).view(2, 2, 1, 1)
    entropies = softmax_scores(logits, torch.zeros(2, 1, 1, 1), False, None, 0.0).entropies
    assert entropies.flatten().tolist() == [0, 300]


def test_the_gradient_is_that_of_differences() -> None:
    logits, target = drawn(2, 3, 2, 2).double().requires_grad_(), torch.arange(8).view(2, 1, 2, 2) % 3
    one_hot = F.one_hot(target[:, 0], 3).movedim(-1, 1).double()
    assert torch.autograd.gradcheck(lambda x: _SoftmaxEntropy.apply(x, target, one_hot), (logits,))
    for part in (0, 1):  # as where only one of the two is used
        assert torch.autograd.gradcheck(lambda x, i=part: _SoftmaxEntropy.apply(x, target, one_hot)[i], (logits,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_get_the_gradient_of_single_precision_rounded(dtype: torch.dtype) -> None:
    half = drawn(1, 3, 8, 8).to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    target = torch.arange(64).view(1, 1, 8, 8) % 3
    with torch.autocast("cpu", torch.bfloat16):
        for logits in (half, single):
            scores = softmax_scores(logits, target, False, None, 0.0)
            assert scores.probabilities.dtype == scores.entropies.dtype == torch.float32
            (scores.entropies.sum() + scores.sums[0].sum()).backward()
    assert half.grad is not None
    assert single.grad is not None
    assert torch.equal(half.grad, single.grad.to(dtype))


def test_ignored_voxels_count_nowhere() -> None:
    target = torch.tensor([0, 1, 2, 3]).view(1, 1, 2, 2)
    scores = softmax_scores(drawn(1, 3, 2, 2), target, True, torch.tensor([1.0, 2.0, 5.0]), 0.0)
    assert scores.weights is not None
    assert scores.weights.flatten().tolist() == [1, 2, 5, 0]
    assert scores.count == 8
    assert not scores.probabilities[..., 1, 1].any()
    assert scores.planes.flatten().tolist() == [0, 1, 2, 0]


def test_a_value_that_is_no_label_is_not_taken_for_one() -> None:
    with pytest.raises(RuntimeError, match="index 3 is out of bounds"):
        softmax_scores(drawn(1, 3, 2, 2), torch.full((1, 1, 2, 2), 3), False, None, 0.0)


def test_regions_have_their_own_weights_which_count_relative_to_their_mean() -> None:
    target = torch.zeros(1, 3, 2, 2)
    target[0, 2, 0] = 1  # the upper two voxels are ignored
    scores = sigmoid_scores(torch.zeros(1, 2, 2, 2), target, True, torch.tensor([1.0, 3.0]), 0.0)
    assert scores.weights is not None
    assert scores.weights[0].tolist() == [[[0, 0], [0.5, 0.5]], [[0, 0], [1.5, 1.5]]]
    assert (float(scores.count), scores.first) == (2, 0)
