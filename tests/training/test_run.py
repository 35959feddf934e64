"""What a run is, and what of its settings its results depend on."""

import dataclasses

import pytest

from segfw.core.settings.schema import InferenceSettings
from segfw.training.run import validated_with


@pytest.mark.parametrize(
    "later", [{"folds": (0,)}, {"postprocessing": False}, {"probabilities": True}, {"memory_gb": 4.0}]
)
def test_what_only_concerns_the_model_makes_no_validation_stale(later):
    before = InferenceSettings()
    assert validated_with(dataclasses.replace(before, **later)) == validated_with(before)
    assert validated_with(dataclasses.replace(before, step_size=0.7)) != validated_with(before)
