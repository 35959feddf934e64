import re

import pytest

from segfw.core.errors import UsageError
from segfw.core.settings import ExperimentSettings, TaskSettings
from segfw.core.settings_checks import check_settings
from segfw.core.training_settings import SamplingSettings


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (SamplingSettings(class_weights={"liver": 2.0, "tumor": -1.0}), "sampling.class_weights must be at least 0"),
        (
            SamplingSettings(case_weights={"case_0": float("nan")}),
            "sampling.case_weights must be at least 0, got {'case",
        ),
    ],
)
def test_weights_given_by_name_keep_the_rule_of_their_key(sampling: SamplingSettings, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        check_settings(ExperimentSettings(task=TaskSettings(name="Mine"), sampling=sampling))
