"""Losses that contradict themselves."""

import re
from dataclasses import replace
from typing import Any

import pytest

from segfw.core.errors import UsageError
from segfw.core.settings.checks import check_settings
from segfw.core.settings.loss_checks import NEEDS, WEIGHED_BY, check_loss
from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.settings.training import LossSettings

OWN = "my_package.MyLoss"
WRONG = [
    (LossSettings(ce_weight=0, dice_weight=0), "loss.component_weight are all 0"),
    (LossSettings(focal_gamma=3.0), "loss.focal_gamma=3.0 needs loss.distribution=focal, got loss.distribution=ce"),
    (LossSettings(topk_share=0.2), "loss.topk_share=0.2 needs loss.distribution=topk"),
    (LossSettings("focal", label_smoothing=0.1), "label_smoothing=0.1 needs loss.distribution=ce or loss.distribution"),
    (LossSettings(tversky_beta=0.5), "loss.tversky_beta=0.5 needs loss.overlap=tversky, got loss.overlap=dice"),
    (LossSettings(overlap="tversky", tversky_alpha=0, tversky_beta=0), "are both 0, so that no error would count"),
    (LossSettings(ce_weight=0, class_weights=(1, 2)), "loss.class_weights=[1, 2] would have no effect, since loss.ce"),
    (LossSettings("focal", ce_weight=0), "loss.distribution=focal would have no effect, since loss.ce_weight is 0"),
    (LossSettings(overlap="tversky", dice_weight=0), "loss.overlap=tversky would have no effect, since loss.dice_w"),
    (LossSettings(cldice_iterations=5), "loss.cldice_iterations=5 would have no effect, since loss.cldice_weight is 0"),
    (
        LossSettings(arguments={"gamma": 2}),
        "loss.arguments={'gamma': 2} needs loss._target_=my_package.MyLoss",
    ),
    (
        LossSettings("focal", _target_=OWN),
        f"loss.distribution=focal would have no effect, since loss._target_={OWN}",
    ),
    (LossSettings(_target_=OWN, arguments={"labels": 1}), "loss.arguments must not hold ['labels'], which every loss"),
    (LossSettings(class_weights={"a": -1.0}), "loss.class_weights must be at least 0 and not all 0, got [-1.0]"),
]
OUT_OF_RANGE = [
    (LossSettings("topk", topk_share=0.0), "loss.topk_share must be above 0 and at most 1, got 0.0"),
    (LossSettings(label_smoothing=1.0), "loss.label_smoothing must be at least 0 and below 1, got 1.0"),
    (LossSettings("focal", focal_gamma=-1.0), "loss.focal_gamma must be at least 0, got -1.0"),
    (LossSettings(cldice_weight=1.0, cldice_iterations=0), "loss.cldice_iterations must be at least 1, got 0"),
    (LossSettings(overlap="tversky", tversky_exponent=0.0), "loss.tversky_exponent must be above 0, got 0.0"),
]


@pytest.mark.parametrize(("loss", "message"), WRONG)
def test_a_key_without_effect_and_a_loss_without_terms_are_refused(loss: LossSettings, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        check_loss(loss)


@pytest.mark.parametrize(("loss", "message"), [*WRONG[:1], *OUT_OF_RANGE])
def test_an_experiment_is_checked(loss: LossSettings, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        check_settings(ExperimentSettings(task=TaskSettings(name="Mine"), loss=loss))


def test_every_key_of_the_tables_is_a_setting() -> None:
    keys = {*NEEDS, *WEIGHED_BY, *WEIGHED_BY.values(), *(chooser for chooser, _ in NEEDS.values())}
    assert keys <= {*LossSettings.__dataclass_fields__}


EFFECTIVE = [
    # settings, and a change that leaves one of them without effect, or no term
    (
        LossSettings("focal", focal_gamma=3.0, class_weights={"a": 2.0}),
        {"distribution": "topk"},
        "loss.focal_gamma=3.0",
    ),
    (LossSettings("focal", focal_gamma=3.0, class_weights={"a": 2.0}), {"ce_weight": 0}, "loss.ce_weight is 0"),
    (LossSettings(ce_weight=0, dice_weight=0, component_weight=1.0), {"component_weight": 0}, "are all 0"),
    (
        LossSettings(_target_=OWN, arguments={"gamma": 2}, batch_dice=True, deep_supervision=False),
        {"_target_": None},
        "loss.arguments={'gamma': 2} needs loss._target_",
    ),
]


@pytest.mark.parametrize(("loss", "change", "message"), EFFECTIVE)
def test_what_has_an_effect_is_allowed(loss: LossSettings, change: dict[str, Any], message: str) -> None:
    check_loss(loss)
    with pytest.raises(UsageError, match=re.escape(message)):
        check_loss(replace(loss, **change))
