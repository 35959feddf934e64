"""Losses against nnU-Net's own values and small cases derived by hand."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from segfw.core.labels import LabelSet
from segfw.core.settings.training import LossSettings
from segfw.core.support.conversion import from_plain
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
CONFIGS = Path(__file__).parents[2] / "configs" / "loss"
PRESETS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONFIGS.glob("*.yaml"))}


def preset_of(name: str) -> LossSettings:
    return from_plain(LossSettings, PRESETS[name])


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
    rough = replace(DICE_ONLY, smooth=0.0)
    target = torch.zeros(2, 1, 1, 8, dtype=torch.int64)
    target[0, ..., :2], target[1, ..., :4] = 1, 1
    right = torch.zeros(2, 1, 1, 8)
    right[0, ..., 1:3], right[1, ..., 6:] = 1, 1
    logits = 1000 * torch.cat((1 - right, right), 1)
    assert build_loss(rough, BINARY, False)(logits, target).item() == pytest.approx(-0.25)
    assert build_loss(rough, BINARY, True)(logits, target).item() == pytest.approx(-0.2)


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
    loss = build_loss(LossSettings(dice_weight=0.0), labels, False)(logits, target)
    assert loss.item() == pytest.approx(2 * math.log(2))  # ln 2 per channel, divided by voxels only
    build_loss(LossSettings(), labels, False)(logits, target).backward()
    assert logits.grad is not None
    assert not logits.grad[..., 2:].any()


def test_half_precision_logits_are_scored_in_single() -> None:
    logits, target = torch.randn(1, 2, 40, 40, 40).bfloat16(), torch.randint(0, 2, (1, 1, 40, 40, 40))
    loss = build_loss(LossSettings(), BINARY, False)
    assert loss(logits, target).dtype == torch.float32
    assert torch.equal(loss(logits, target), loss(logits.float(), target))


def test_output_weights_halve_from_one_to_the_next() -> None:
    assert output_weights([(8, 8), (4, 4), (4, 2), (2, 1)]) == pytest.approx((8 / 15, 4 / 15, 2 / 15, 1 / 15))
    assert output_weights([(8, 8, 8), (8, 8, 8), (4, 4, 4)]) == pytest.approx((4 / 7, 2 / 7, 1 / 7))  # a stride of 1
    assert output_weights([(6, 6)]) == (1,)


def test_outputs_that_are_all_of_one_size_weigh_the_same() -> None:
    assert output_weights([(8, 8)] * 4) == (0.25,) * 4


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


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", ["labels", "regions"])
def test_every_preset_learns(preset: str, kind: str) -> None:
    # two squares of one class and a thin line of another, each bright in a channel of its own, with faint noise
    generator = torch.Generator().manual_seed(3)
    target = torch.zeros(2, 1, 16, 16, dtype=torch.int64)
    target[0, 0, 2:6, 2:6] = target[1, 0, 9:14, 3:7] = 1
    target[:, 0, 11, 9:16] = 2
    image = torch.cat((target == 1, target == 2), 1) + 0.1 * torch.randn(2, 2, 16, 16, generator=generator)
    labels = labels_of(3 if kind == "labels" else 2, regions=kind == "regions")
    if kind == "regions":
        target = torch.cat((target > 0, target > 1), 1)
    loss = build_loss(preset_of(preset), labels, True)
    network = nn.Conv2d(2, 3 if kind == "labels" else 2, 1)
    for parameter in network.parameters():  # every class as likely: from elsewhere Dice alone may give one all
        nn.init.zeros_(parameter)
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    for _ in range(80):
        optimizer.zero_grad()
        loss(network(image), target).backward()
        optimizer.step()
    logits = network(image)
    predicted = logits.argmax(1, keepdim=True) if kind == "labels" else logits > 0
    assert (predicted == target).float().mean() > 0.99


def test_terms_for_thin_and_small_structures_are_scored_at_full_resolution_alone() -> None:
    target = torch.randint(0, 2, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    outputs = [torch.randn(1, 2, n, n) for n in (8, 8, 4)]
    plain, extra = LossSettings(), replace(DICE_ONLY, dice_weight=0.0, cldice_weight=0.5, component_weight=0.25)
    both = replace(plain, cldice_weight=0.5, component_weight=0.25)
    alone = build_loss(extra, BINARY, False)
    expected = DeepSupervisionLoss(build_loss(plain, BINARY, False))(outputs, target)
    expected = expected + (2 * alone(outputs[0], target) + alone(outputs[1], target)) / 3
    torch.testing.assert_close(DeepSupervisionLoss(build_loss(both, BINARY, False))(outputs, target), expected)


@st.composite
def batches(draw: st.DrawFn) -> tuple[LabelSet, Tensor, Tensor]:
    """Labels or regions with an ignore label, targets and logits of three samples."""
    regions, dimensions = draw(st.booleans()), draw(st.integers(2, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    space = (6,) * dimensions
    logits = torch.randn(3, 3, *space, generator=generator)
    if regions:
        target = torch.rand(3, 4, *space, generator=generator) < draw(st.floats(0, 1))
    else:
        target = torch.randint(0, draw(st.integers(1, 4)), (3, 1, *space), generator=generator)
    return labels_of(3, ignore=True, regions=regions), logits, target


@pytest.mark.parametrize("preset", PRESETS)
@given(batches(), st.permutations(range(3)), st.booleans())
@settings(max_examples=15)
def test_the_order_of_the_batch_changes_nothing(
    preset: str, batch: tuple[LabelSet, Tensor, Tensor], order: list[int], pooled: bool
) -> None:
    labels, logits, target = batch
    loss = build_loss(preset_of(preset), labels, pooled)
    torch.testing.assert_close(loss(logits[order], target[order]), loss(logits, target))


@pytest.mark.parametrize("preset", PRESETS)
@given(batches(), st.booleans())
@settings(max_examples=15)
def test_a_perfect_prediction_is_the_minimum(preset: str, batch: tuple[LabelSet, Tensor, Tensor], pooled: bool) -> None:
    labels, logits, target = batch
    loss = build_loss(preset_of(preset), labels, pooled)
    channels = torch.arange(3).view(1, 3, *[1] * (target.ndim - 2))
    right = target[:, :3].float() if labels.has_regions else (target == channels).float()
    perfect, other = loss(200 * right - 100, target), loss(logits, target)
    chosen = preset_of(preset)
    assert perfect <= other + 1e-5
    assert perfect >= -(chosen.dice_weight + chosen.cldice_weight + chosen.component_weight) - 1e-5


@pytest.mark.parametrize("preset", PRESETS)
@given(batches(), st.booleans())
@settings(max_examples=15)
def test_ignored_voxels_have_no_gradient(preset: str, batch: tuple[LabelSet, Tensor, Tensor], pooled: bool) -> None:
    labels, logits, target = batch
    logits.requires_grad_()
    build_loss(preset_of(preset), labels, pooled)(logits, target).backward()
    ignored = target[:, 3:] if labels.has_regions else target == 3
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert not (logits.grad * ignored).any()


ON_RANKS = {
    **{name: PRESETS[name] for name in PRESETS if name != "dice_topk"},
    "weighted": {"class_weights": [1.0, 5.0, 0.5]},
}


def _batch_of(regions: bool) -> tuple[LabelSet, Tensor, Tensor]:
    """Three samples of which the first is mostly ignored, so that ranks hold different numbers of voxels."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 3, 6, 6, generator=generator)
    if regions:
        target = torch.rand(3, 4, 6, 6, generator=generator) < 0.3
        target[0, 3] = True
        target[0, 3, 0] = False
    else:
        target = torch.randint(0, 3, (3, 1, 6, 6), generator=generator)
        target[0, 0, 1:] = 3
    return labels_of(3, ignore=True, regions=regions), logits, target


def _losses_of(part: slice) -> dict[str, tuple[Tensor, Tensor]]:
    """Loss and gradient of a part of the batch by every loss that is the same on many ranks."""
    found = {}
    for name, regions, pooled in itertools.product(ON_RANKS, (False, True), (False, True)):
        labels, logits, target = _batch_of(regions)
        mine = logits[part].clone().requires_grad_()
        chosen = from_plain(LossSettings, ON_RANKS[name])
        loss = build_loss(chosen, labels, pooled)(mine, target[part])
        loss.backward()
        assert mine.grad is not None
        found[f"{name} {regions=} {pooled=}"] = (loss.detach(), mine.grad)
    return found


def _losses_of_one_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(_losses_of(slice(0, 2) if rank == 0 else slice(2, 3)), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_with_different_numbers_of_voxels_are_one_batch(tmp_path: Path) -> None:
    mp.spawn(_losses_of_one_rank, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, (expected, whole) in _losses_of(slice(None)).items():
        mean = (ranks[0][name][0] + ranks[1][name][0]) / 2
        gradient = torch.cat((ranks[0][name][1], ranks[1][name][1])) / 2  # averaging over two ranks halves it
        torch.testing.assert_close(mean, expected, msg=name)
        torch.testing.assert_close(gradient, whole, msg=name)
