import re

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
    "optimizer",
    [
        OptimizerSettings("sgd", momentum=0.9, nesterov=False),
        OptimizerSettings("adam", betas=(0.5, 0.9), amsgrad=True, weight_decay=0.1),
        OptimizerSettings("rmsprop", momentum=0.9),
        OptimizerSettings("radam", lr=0.1),
    ],
)
def test_lets_pass_what_matters(optimizer: OptimizerSettings) -> None:
    check_optimizer(optimizer, ScheduleSettings("poly", exponent=2.0, warmup=0.1))
