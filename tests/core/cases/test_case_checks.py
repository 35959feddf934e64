"""What every computation on a case may take for granted, and how a case that breaks it is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segfw.core.cases.case_checks import checked_image, not_finite
from segfw.core.errors import DataError
from segfw.core.types import Volume

UNIT = (1.0, 1.0, 1.0)


@given(arrays.arrays(np.float32, (2, 3, 4), elements=st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf])))
def test_bad_voxels_are_counted_and_the_first_is_named(array):
    bad = [index for index, value in enumerate(array.ravel()) if not np.isfinite(value)]
    assert not_finite(array) == ((len(bad), bad[0]) if bad else None)


def test_integers_and_nothing_are_finite():
    assert not_finite(np.full((2, 2), 0x7F80, np.int16)) is None
    assert not_finite(np.empty((0, 3), np.float32)) is None


def test_an_image_with_such_voxels_is_refused_with_their_place():
    array = np.zeros((2, 3, 4, 5), np.float32)
    array[1, 2, 3, 4] = array[1, 0, 1, 2] = np.nan
    with pytest.raises(
        DataError, match=r"the image has 2 voxels that are NaN or infinite, the first at \(1, 0, 1, 2\)"
    ):
        checked_image(Volume(array, UNIT))
