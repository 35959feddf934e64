"""Each term of the loss: values derived by hand, and PyTorch's own where it has them."""

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segfw.core.labels import LabelSet
from segfw.core.settings.training import LossSettings
from segfw.nn.losses import build_loss

BINARY = LabelSet({"background": 0, "organ": 1})
THREE = LabelSet({"background": 0, "a": 1, "b": 2, "ignore": 3})
REGIONS = LabelSet({"background": 0, "whole": (1, 2), "core": 2}, (1, 2))


def of(settings: LossSettings, probabilities: Sequence[Sequence[float]], truth: Sequence[Sequence[int]]) -> float:
    """The loss of one sample, a plane of two classes given by the probability of the second."""
    p = torch.tensor(probabilities)[None, None]
    logits = torch.cat((torch.zeros_like(p), torch.logit(p).clamp(-200, 200)), 1)
    return build_loss(settings, BINARY, False)(logits, torch.tensor(truth)[None, None]).item()


def drawn() -> tuple[Tensor, Tensor]:
    """Logits of three labels, and a target in which some voxels are ignored."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 6, 7, generator=generator), torch.randint(0, 4, (2, 1, 6, 7), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 4.0)])
def test_weighted_cross_entropy_is_pytorchs(smoothing: float, weights: tuple[float, ...] | None) -> None:
    logits, target = drawn()
    settings = LossSettings(dice_weight=0, class_weights=weights, label_smoothing=smoothing)
    loss = build_loss(settings, THREE, False)(logits, target)
    if weights is None or smoothing == 0:
        weight = None if weights is None else torch.tensor(weights)
        expected = F.cross_entropy(logits, target[:, 0], weight, ignore_index=3, label_smoothing=smoothing)
    else:  # the weight of a voxel is that of its class; PyTorch also weighs the smoothed part class by class
        valid = target[:, 0] < 3
        entropies = F.cross_entropy(logits, target[:, 0], ignore_index=3, label_smoothing=smoothing, reduction="none")
        each = torch.tensor((*weights, 0.0))[target[:, 0]]
        expected = (entropies * each)[valid].sum() / each.sum()
    torch.testing.assert_close(loss, expected)


def test_weights_of_regions() -> None:
    # ln 2 at every voxel of the one region, ln 4 at every voxel of the other, which counts three times
    logits = torch.stack((torch.zeros(4, 4), torch.full((4, 4), math.log(3))))[None]
    settings = LossSettings(dice_weight=0, class_weights={"core": 3})
    loss = build_loss(settings, REGIONS, False)(logits, torch.zeros(1, 2, 4, 4))
    assert loss.item() == pytest.approx((math.log(2) + 3 * math.log(4)) / 4)


def test_smoothed_regions() -> None:
    # target 0 becomes 0.1: 0.1 ln(1/p) + 0.9 ln(1/(1 - p)) with p = 3/4
    logits = torch.full((1, 2, 2, 2), math.log(3))
    loss = build_loss(LossSettings(dice_weight=0, label_smoothing=0.2), REGIONS, False)(logits, torch.zeros(1, 2, 2, 2))
    assert loss.item() == pytest.approx(0.1 * math.log(4 / 3) + 0.9 * math.log(4))


def test_focal_discounts_easy_voxels() -> None:
    focal = LossSettings("focal", dice_weight=0)
    assert of(focal, [[0.25]], [[1]]) == pytest.approx(0.75**2 * math.log(4))
    assert of(focal, [[0.25]], [[0]]) == pytest.approx(0.25**2 * math.log(4 / 3))
    regions = build_loss(focal, REGIONS, False)(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))
    assert regions.item() == pytest.approx(0.25 * math.log(2))


def test_focal_without_gamma_is_cross_entropy_and_a_root_has_a_finite_gradient() -> None:
    logits, target = drawn()
    plain = build_loss(LossSettings(dice_weight=0), THREE, False)(logits, target)
    assert build_loss(LossSettings("focal", dice_weight=0, focal_gamma=0), THREE, False)(logits, target) == plain
    certain = torch.tensor([200.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4).clone().requires_grad_()
    target = torch.zeros(1, 1, 4, 4)
    build_loss(LossSettings("focal", dice_weight=0, focal_gamma=0.5), THREE, False)(certain, target).backward()
    assert certain.grad is not None
    assert torch.isfinite(certain.grad).all()


def test_topk_takes_the_hardest_share() -> None:
    hard = LossSettings("topk", dice_weight=0, topk_share=0.4)
    assert of(hard, [[0.1, 0.5, 0.2, 0.3, 0.4]], [[0] * 5]) == pytest.approx(-(math.log(0.5) + math.log(0.6)) / 2)
    assert of(hard, [[0.5]], [[0]]) == pytest.approx(math.log(2))  # never less than one voxel


def test_topk_takes_its_share_of_the_voxels_that_are_not_ignored() -> None:
    logits = torch.stack((torch.zeros(10), torch.arange(10.0), torch.full((10,), -200.0)))[None, :, None]
    target = torch.zeros(1, 1, 1, 10, dtype=torch.int64)
    target[..., 5:] = 3
    loss = build_loss(LossSettings("topk", dice_weight=0, topk_share=0.4), THREE, False)
    # two of the five voxels that count, those with the largest logits for another class, 3 and 4
    expected = (math.log1p(math.exp(4)) + math.log1p(math.exp(3))) / 2
    assert loss(logits, target).item() == pytest.approx(expected)
    assert loss(logits, torch.full_like(target, 3)).item() == 0


def test_tversky_by_hand_and_as_dice() -> None:
    # I = 2, P = 4, T = 3: 2 false positives, 1 false negative
    p, t = [[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]], [[1, 1, 0, 0, 1, 0]]
    settings = {"ce_weight": 0, "overlap": "tversky", "smooth": 0.0}
    assert of(LossSettings(**settings), p, t) == pytest.approx(-2 / (2 + 0.3 * 2 + 0.7 * 1))
    powered = LossSettings(**settings, tversky_exponent=0.75)
    assert of(powered, p, t) == pytest.approx((1 - 2 / 3.3) ** 0.75 - 1)
    logits, target = drawn()
    even = LossSettings(ce_weight=0, overlap="tversky", tversky_alpha=0.5, tversky_beta=0.5, smooth=0.3)
    dice = build_loss(LossSettings(ce_weight=0, smooth=0.3), THREE, True)(logits, target)
    torch.testing.assert_close(build_loss(even, THREE, True)(logits, target), dice)


def test_cldice_of_a_broken_line() -> None:
    # both skeletons are the lines themselves: all of the predicted one is right, 4 of 5 voxels are found
    line, broken = [[0] * 7, [0, 1, 1, 1, 1, 1, 0], [0] * 7], [[0.0] * 7, [0, 1, 1, 0, 1, 1, 0], [0.0] * 7]
    settings = LossSettings(ce_weight=0, dice_weight=0, cldice_weight=1.0)
    assert of(settings, broken, line) == pytest.approx(-2 * 0.8 / 1.8, rel=1e-4)
    assert of(settings, [[float(v) for v in row] for row in line], line) == pytest.approx(-1)


def test_each_component_counts_the_same() -> None:
    # four voxels found and one missed: Dice 8/9, but of the two components 1 and 0
    truth = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 1]]
    found = [[1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0]]
    settings = LossSettings(ce_weight=0, dice_weight=0, component_weight=1.0)
    assert of(settings, found, truth) == pytest.approx(-1 / 2, rel=1e-4)
    found[0][3] = 1.0  # a false positive is held against each: 8 / (5 + 4), and 0
    assert of(settings, found, truth) == pytest.approx(-8 / 9 / 2, rel=1e-4)
    assert of(settings, found, [[0] * 5] * 2) == 0


def test_components_of_regions_and_of_several_samples() -> None:
    # whole: one component of 6, wholly found; core: two of 1, one of them found; the other sample has none
    target = torch.zeros(2, 2, 2, 3)
    target[0, 0], target[0, 1, 0, 0], target[0, 1, 0, 2] = 1, 1, 1
    right = target.clone()
    right[0, 1, 0, 2] = 0
    settings = LossSettings(ce_weight=0, dice_weight=0, component_weight=1.0)
    loss = build_loss(settings, REGIONS, True)(400 * right - 200, target)
    assert loss.item() == pytest.approx(-(1 + 1 + 0) / 3, rel=1e-4)
