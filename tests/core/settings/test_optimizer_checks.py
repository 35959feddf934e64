import re
from dataclasses import replace
from typing import Any

import pytest

from segfw.core.errors import UsageError
from segfw.core.settings.optimizer_checks import check_optimizer
from segfw.core.settings.training import OptimizerSettings, ScheduleSettings


@pytest.mark.parametrize(
    ("optimizer", "schedule", "words"),
    [
        (OptimizerSettings("adamw", momentum=0.9), ScheduleSettings(), "optimizer.momentum=0.9 would have no effect"),
        (
            OptimizerSettings("rmsprop", nesterov=False),
            ScheduleSettings(),
            "optimizer=rmsprop; it needs optimizer=sgd",
        ),
        (OptimizerSettings("sgd", betas=(0.5, 0.9)), ScheduleSettings(), "optimizer.betas=[0.5, 0.9] would"),
        (OptimizerSettings("nadam", amsgrad=True), ScheduleSettings(), "needs optimizer=adam or optimizer=adamw"),
        (OptimizerSettings(), ScheduleSettings("cosine", exponent=2.0), "schedule.exponent=2.0 would have no effect"),
    ],
)
def test_refuses_what_would_have_no_effect(
    optimizer: OptimizerSettings, schedule: ScheduleSettings, words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        check_optimizer(optimizer, schedule)


@pytest.mark.parametrize(
    ("optimizer", "other"),
    [
        (OptimizerSettings("sgd", momentum=0.9, nesterov=False), "rmsprop"),
        (OptimizerSettings("adam", betas=(0.5, 0.9), amsgrad=True, weight_decay=0.1), "nadam"),
        (OptimizerSettings("rmsprop", momentum=0.9), "adamw"),
        (OptimizerSettings("radam", betas=(0.5, 0.9), lr=0.1), "sgd"),
    ],
)
def test_lets_pass_what_matters(optimizer: OptimizerSettings, other: Any) -> None:
    schedule = ScheduleSettings("poly", exponent=2.0, warmup=0.1)
    check_optimizer(optimizer, schedule)
    with pytest.raises(UsageError, match=f"would have no effect with optimizer={other}"):
        check_optimizer(replace(optimizer, name=other), schedule)
    with pytest.raises(UsageError, match="would have no effect with schedule=cosine"):
        check_optimizer(optimizer, replace(schedule, name="cosine"))
