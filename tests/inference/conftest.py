"""A tiny model of two folds in 3D and one in 2D."""

import pytest

from tests.inference.tiny_model import make_bundle, make_plan


@pytest.fixture
def plan():
    return make_plan()


@pytest.fixture
def bundle(plan):
    return make_bundle(plan)
