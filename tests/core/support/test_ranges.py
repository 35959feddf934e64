"""Numbers within a range."""

import math

import numpy as np
import pytest

from segfw.core.support.ranges import LARGEST_FLOAT, is_between


@pytest.mark.parametrize("value", [1, 1.5, np.float32(1), np.int64(2)])
def test_numbers_of_any_kind_are_numbers(value):
    assert is_between(value, 1, 2)
    assert not is_between(value, 3, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, True, "1", None, [1], 1j, np.bool_(True)])
def test_nothing_else_is(value):
    assert not is_between(value, 0, LARGEST_FLOAT)
