"""Losses against nnU-Net's own values and small cases derived by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from segfw.core.labels import LabelSet
from segfw.core.training_settings import LossSettings
from segfw.nn.losses import (
    DeepSupervisionLoss,
    build_loss,
    deep_supervision_targets,
    output_weights,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "losses"
CASES = json.loads((GOLDEN / "losses.json").read_text())
BINARY = LabelSet({"background": 0, "organ": 1})
DICE_ONLY = LossSettings(ce_weight=0.0)


def labels_of(heads: int, *, ignore: bool = False, regions: bool = False) -> LabelSet:
    """Make labels with this many network channels; the first region has two values."""
    last = heads if regions else heads - 1
    values: dict[str, int | tuple[int, ...]] = {"background": 0} | {f"label {i}": i for i in range(1, last + 1)}
    if regions:
        values["label 1"] = (1, 2)
    return LabelSet(values | ({"ignore": last + 1} if ignore else {}), tuple(range(1, heads + 1)) if regions else None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
@pytest.mark.parametrize("batch_dice", [False, True])
def test_equals_the_reference(case: dict, batch_dice: bool) -> None:
    with np.load(GOLDEN / case["file"]) as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    logits, expected = arrays["logits"], case["losses"]
    heads = logits.shape[1]
    for name, labels, target in (
        ("dc_ce", labels_of(heads), arrays["target"]),
        ("dc_ce_ignore", labels_of(heads, ignore=True), arrays["target_ignore"]),
        ("dc_bce", labels_of(heads, regions=True), arrays["target_regions"].bool()),
    ):
        loss = build_loss(LossSettings(), labels, batch_dice)(logits, target)
        assert loss.item() == pytest.approx(expected[f"{name}_batchdice_{batch_dice}"], abs=2e-6), name
        assert build_loss(LossSettings(batch_dice=batch_dice), labels, not batch_dice)(logits, target) == loss


def binary_logits(foreground_probability: Tensor) -> Tensor:
    return torch.cat((torch.zeros_like(foreground_probability), torch.logit(foreground_probability)), dim=1)


def test_dice_of_an_absent_class_falls_with_what_is_predicted() -> None:
    # q = 0.25 on 16 voxels, nothing there: (0 + 1e-5) / (4 + 0 + 1e-5)
    loss = build_loss(DICE_ONLY, BINARY, False)(
        binary_logits(torch.full((1, 1, 4, 4), 0.25)), torch.zeros(1, 1, 4, 4).short()
    )
    assert loss.item() == pytest.approx(-1e-5 / (4 + 1e-5), rel=1e-4)


def test_perfect_prediction_scores_minus_one_and_an_absent_class_counts_as_right() -> None:
    target = torch.zeros(1, 1, 4, 4, dtype=torch.int16)
    target[..., 1:3] = 1
    for right in (target, torch.zeros_like(target)):
        logits = torch.cat((1000.0 * (right == 0), 1000.0 * (right == 1)), dim=1)
        assert build_loss(LossSettings(), BINARY, False)(logits, right).item() == pytest.approx(-1)


def test_weights_scale_the_terms() -> None:
    logits, target = torch.randn(2, 2, 4, 4), torch.randint(0, 2, (2, 1, 4, 4))
    ce = build_loss(LossSettings(dice_weight=0.0), BINARY, False)(logits, target)
    dice = build_loss(DICE_ONLY, BINARY, False)(logits, target)
    torch.testing.assert_close(ce, torch.nn.functional.cross_entropy(logits, target[:, 0]))
    both = build_loss(LossSettings(dice_weight=2.0, ce_weight=0.5), BINARY, False)(logits, target)
    torch.testing.assert_close(both, 0.5 * ce + 2 * dice)


def test_batch_dice_pools_before_dividing() -> None:
    # sample 0: I 1, P 2, T 2 -> 1/2; sample 1: I 0, P 2, T 4 -> 0; pooled: 2 * 1 / (4 + 6)
    settings = replace(DICE_ONLY, smooth=0.0)
    target = torch.zeros(2, 1, 1, 8, dtype=torch.int64)
    target[0, ..., :2], target[1, ..., :4] = 1, 1
    right = torch.zeros(2, 1, 1, 8)
    right[0, ..., 1:3], right[1, ..., 6:] = 1, 1
    logits = 1000 * torch.cat((1 - right, right), 1)
    assert build_loss(settings, BINARY, False)(logits, target).item() == pytest.approx(-0.25)
    assert build_loss(settings, BINARY, True)(logits, target).item() == pytest.approx(-0.2)


def test_ignored_voxels_change_nothing() -> None:
    labels = labels_of(3, ignore=True)
    target = torch.randint(0, 3, (2, 1, 6, 6), dtype=torch.int16)
    target[..., :3] = 3
    logits = torch.randn(2, 3, 6, 6, requires_grad=True)
    build_loss(LossSettings(), labels, True)(logits, target).backward()
    gradient = logits.grad
    assert gradient is not None
    assert not gradient[..., :3].any()
    assert gradient[..., 3:].any()
    nothing = build_loss(LossSettings(dice_weight=0.0), labels, True)(logits, torch.full_like(target, 3))
    assert nothing.item() == 0


def test_ignored_voxels_of_regions_change_nothing() -> None:
    labels = labels_of(2, ignore=True, regions=True)
    target = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    target[:, 0, :, :3], target[:, 1, :2], target[:, 2, :, 2:] = True, True, True
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    settings = LossSettings(dice_weight=0.0)
    loss = build_loss(settings, labels, False)(logits, target)
    assert loss.item() == pytest.approx(2 * math.log(2))  # ln 2 per channel, divided by voxels only
    build_loss(LossSettings(), labels, False)(logits, target).backward()
    assert logits.grad is not None
    assert not logits.grad[..., 2:].any()


def test_half_precision_logits_are_scored_in_single() -> None:
    logits, target = torch.randn(1, 2, 40, 40, 40).bfloat16(), torch.randint(0, 2, (1, 1, 40, 40, 40))
    loss = build_loss(LossSettings(), BINARY, False)
    assert loss(logits, target).dtype == torch.float32
    assert torch.equal(loss(logits, target), loss(logits.float(), target))


def test_output_weights_halve_with_the_resolution() -> None:
    assert output_weights([(8, 8), (4, 4), (4, 2), (2, 1)]) == pytest.approx((8 / 15, 4 / 15, 2 / 15, 1 / 15))
    assert output_weights([(6, 6)]) == (1,)


def test_outputs_of_one_resolution_weigh_the_same() -> None:
    assert output_weights([(8, 8)] * 4) == (0.25,) * 4
    assert output_weights([(8, 8), (8, 8), (4, 4)]) == pytest.approx((0.4, 0.4, 0.2))


def test_deep_supervision_scores_each_output_at_its_own_resolution() -> None:
    single = build_loss(LossSettings(), BINARY, False)
    outputs = [torch.randn(1, 2, n, n) for n in (8, 4)]
    target = torch.randint(0, 2, (1, 1, 8, 8))
    expected = (2 * single(outputs[0], target) + single(outputs[1], target[:, :, 1::2, 1::2])) / 3
    loss = DeepSupervisionLoss(single)
    torch.testing.assert_close(loss(outputs, target), expected)
    assert torch.equal(loss(outputs[0], target), single(outputs[0], target))
    both_full = (single(outputs[0], target) + single(-outputs[0], target)) / 2
    torch.testing.assert_close(loss([outputs[0], -outputs[0]], target), both_full)


@pytest.mark.parametrize("sizes", [[(8, 24, 24), (4, 12, 12), (2, 6, 6)], [(8, 24, 24), (8, 8, 12), (8, 4, 4)]])
def test_targets_are_the_nearest_voxels(sizes: list[tuple[int, ...]]) -> None:
    target = torch.randint(0, 100, (2, 1, 8, 24, 24), dtype=torch.int16)
    targets = deep_supervision_targets(target, sizes)
    assert torch.equal(targets[0], target)
    for reduced, size in zip(targets, sizes, strict=True):
        expected = torch.nn.functional.interpolate(target.double(), size=size, mode="nearest-exact")
        assert torch.equal(reduced.double(), expected)
        assert reduced.dtype == target.dtype


def _loss_of_one_rank(rank: int, folder: str, logits: Tensor, target: Tensor) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mine = logits[rank : rank + 1].clone().requires_grad_()
    loss = build_loss(DICE_ONLY, BINARY, True)(mine, target[rank : rank + 1])
    loss.backward()
    torch.save((loss.detach(), mine.grad), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_batch_dice_over_two_ranks_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    logits, target = torch.randn(2, 2, 4, 4), torch.randint(0, 2, (2, 1, 4, 4))
    mp.spawn(_loss_of_one_rank, (str(tmp_path), logits, target), nprocs=2)
    whole = logits.clone().requires_grad_()
    expected = build_loss(DICE_ONLY, BINARY, True)(whole, target)
    expected.backward()
    assert whole.grad is not None
    for rank in range(2):
        loss, gradient = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(loss, expected.detach())
        torch.testing.assert_close(gradient / 2, whole.grad[rank : rank + 1])  # averaging over two ranks halves it
