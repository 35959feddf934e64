"""A loss of the user's: what it is given, and how mistakes are told."""

from typing import Any

import pytest
import torch

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.training import LossSettings
from segfw.core.types import Shape
from segfw.data.augmentation import encode_target
from segfw.nn.losses import DeepSupervisionLoss, build_loss
from segfw.nn.own_loss import random_target, try_own_loss
from tests.nn.own_losses import Square

PATCH = (8, 40, 4)
LABELS = LabelSet({"background": 0, "a": 1, "b": 2})
IGNORING = LabelSet({"background": 0, "a": 1, "ignore": 2})
REGIONS = LabelSet({"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}, (1, 2))


def own(name: str, **arguments: Any) -> LossSettings:
    return LossSettings(_target_=f"tests.nn.own_losses.{name}", arguments=arguments)


@pytest.mark.parametrize(("asked", "given"), [(None, True), (False, False)])
def test_is_given_labels_batch_dice_and_arguments(asked: bool | None, given: bool) -> None:
    settings = LossSettings(_target_="tests.nn.own_losses.Square", arguments={"factor": 3.0}, batch_dice=asked)
    square: Any = build_loss(settings, LABELS, batch_dice=True)
    assert isinstance(square.loss, Square)
    assert (square.loss.labels, square.loss.batch_dice, square.loss.factor) == (LABELS, given, 3.0)


def test_counts_at_every_resolution_by_its_weight() -> None:
    loss = DeepSupervisionLoss(build_loss(own("Square"), LABELS, batch_dice=False))
    full, half = torch.full((1, 3, 4), 3.0), torch.full((1, 3, 2), 2.0)
    # (3 - 1)^2 and (2 - 1)^2, of weights 2/3 and 1/3
    assert float(loss([full, half], torch.ones(1, 1, 4, dtype=torch.int64))) == pytest.approx(2 / 3 * 4 + 1 / 3)


@pytest.mark.parametrize("labels", [LABELS, IGNORING, REGIONS])
def test_is_tried_on_what_training_gives(labels: LabelSet) -> None:
    try_own_loss(own("Square"), labels, PATCH)
    drawn = random_target(labels, PATCH, torch.Generator().manual_seed(0))
    trained = encode_target(torch.zeros(2, 1, *PATCH, dtype=torch.int16), labels)
    assert (drawn.shape, drawn.dtype) == (trained.shape, trained.dtype)
    assert len(drawn.unique()) == (2 if labels.has_regions else len(labels.allowed_values))


def test_the_loss_of_the_package_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[LabelSet] = []

    def draw(labels: LabelSet, space: Shape, generator: torch.Generator) -> torch.Tensor:
        tried.append(labels)
        return random_target(labels, space, generator)

    monkeypatch.setattr("segfw.nn.own_loss.random_target", draw)
    try_own_loss(LossSettings(), LABELS, PATCH)
    assert tried == []
    try_own_loss(own("Square"), LABELS, PATCH)
    assert tried == [LABELS]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LossSettings(_target_="nowhere_to_be_found.MyLoss"), r"loss\._target_: cannot import.*No module named"),
        (LossSettings(_target_="MyLoss"), r"loss\._target_: .*must be package\.module\.Name"),
        (own("number"), "is no class or function that makes a loss, got int"),
        (own("no_module"), "must give a torch.nn.Module, got str"),
        (own("Square", fcator=2), "called with labels, batch_dice, fcator it raised TypeError.*fcator"),
        (own("Learns"), r"must have no parameters.*got \['scale'\]"),
        (own("PerSample"), r"must return a scalar tensor, a float, got \(2,\) of torch.float32"),
        (own("Infinite"), "must return a finite loss, given logits .*, got -?inf"),
        (own("Cut"), "must follow from the logits with a gradient, got none"),
        (own("Steep"), "must have a finite gradient, given logits"),
        (
            own("Broken"),
            r"given logits \(2, 3, 8, 32, 4\) and a target \(2, 1, 8, 32, 4\) of torch.int64, it raised "
            r"KeyError: 'nothing here' \(.*own_losses.py, line \d+\)",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(settings: LossSettings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        try_own_loss(settings, LABELS, PATCH)
