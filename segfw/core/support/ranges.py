"""Whether what came from a file or a caller is a number that arithmetic can take."""

import sys
from typing import Any

import numpy as np

LARGEST_FLOAT = sys.float_info.max


def is_between(value: Any, least: float, most: float) -> bool:
    """Whether `value` is a number, and one in the range; neither NaN nor a truth value is, and no integer overflows."""
    known = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return known and bool(least <= value <= most)
