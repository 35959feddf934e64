import math

import pytest
import torch

from segfw.core.labels import LabelSet
from segfw.training.patch_dice import PatchDice, mean_dice, moving_average

LABELS = LabelSet({"background": 0, "a": 1, "b": 2})
IGNORING = LabelSet({"background": 0, "a": 1, "b": 2, "ignore": 3})
REGIONS = LabelSet({"background": 0, "whole": (1, 2), "core": 2}, regions_class_order=(1, 2))


def logits_of(prediction: list[int], heads: int = 3) -> torch.Tensor:
    """(1, heads, n) logits whose arg-max is `prediction`."""
    return torch.nn.functional.one_hot(torch.tensor(prediction), heads).float().T[None]


def test_counts_add_up_over_batches_before_the_division() -> None:
    dice = PatchDice(LABELS)
    dice.update(logits_of([1, 1, 0, 2]), torch.tensor([[[1, 0, 1, 2]]]))  # a: TP 1, FP 1, FN 1; b: TP 1
    dice.update(logits_of([1, 1, 1, 0]), torch.tensor([[[1, 1, 1, 2]]]))  # a: TP 3; b: FN 1
    assert dice.compute() == {"a": 2 * 4 / (2 * 4 + 1 + 1), "b": 2 * 1 / (2 * 1 + 0 + 1)}


def test_ignored_voxels_count_nowhere() -> None:
    dice = PatchDice(IGNORING)
    dice.update(logits_of([1, 1, 2, 0]), torch.tensor([[[1, 3, 3, 2]]]))
    assert dice.compute() == {"a": 1.0, "b": 0.0}


def test_an_entry_that_never_occurs_has_no_value() -> None:
    dice = PatchDice(LABELS)
    dice.update(logits_of([1, 0]), torch.tensor([[[1, 1]]]))
    values = dice.compute()
    assert values["a"] == pytest.approx(2 / 3)
    assert math.isnan(values["b"])
    assert mean_dice(values) == pytest.approx(2 / 3)
    dice.reset()
    assert all(math.isnan(value) for value in dice.compute().values())
    assert math.isnan(mean_dice(dice.compute()))


def test_regions_overlap_and_respect_the_ignore_channel() -> None:
    dice = PatchDice(REGIONS)
    logits = torch.tensor([[[1.0, 1.0, -1.0, 1.0], [1.0, -1.0, -1.0, 1.0]]])
    target = torch.tensor([[[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]]], dtype=torch.bool)  # last channel: ignored
    dice.update(logits, target)
    assert dice.compute() == {"whole": 4 / 5, "core": 2 / 3}


def test_moving_average() -> None:
    assert moving_average(None, 0.5) == 0.5
    assert moving_average(0.5, 1.0) == pytest.approx(0.55)
    assert moving_average(0.5, math.nan) == 0.5
    assert moving_average(None, math.nan) is None
