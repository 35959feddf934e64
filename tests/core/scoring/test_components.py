"""Components of several groups in one pass, against scipy's of each mask by itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segfw.core.errors import DataError
from segfw.core.scoring.components import compact, fill_cavities, find_components

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
MAPS = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 3)))


@given(MAPS)
def test_every_group_has_the_components_of_its_mask(label_map):
    groups = ((1, 3), (2,))
    found = find_components(label_map, groups)
    for number, key in enumerate(groups, 1):
        mask = np.isin(label_map, key)
        labelled, count = ndimage.label(mask, np.ones((3, 3, 3)))
        expected = sorted(np.bincount(labelled.ravel())[1:].tolist())
        ours = [] if found is None else sorted(found.sizes[found.owners == number].tolist())
        assert ours == expected
        assert len(ours) == count
        if found is not None:
            placed = np.zeros(label_map.shape, bool)
            placed[found.box] = found.owners[found.indices] == number
            assert (placed == mask).all()


@given(MAPS)
def test_a_cavity_is_filled_if_its_mask_alone_encloses_it(label_map):
    filled = label_map.copy()
    fill_cavities(filled, [(1,), (2, 3)], [1, 3])
    expected = label_map.copy()
    background, count = ndimage.label(label_map == 0)
    axes = [axis for axis, extent in enumerate(label_map.shape) if extent > 1]
    for index in range(1, count + 1):
        cavity = background == index
        places = np.argwhere(cavity)
        if any(places[:, axis].min() == 0 or places[:, axis].max() == label_map.shape[axis] - 1 for axis in axes):
            continue
        around = set(label_map[ndimage.binary_dilation(cavity) & ~cavity].tolist())
        if around and around <= {1}:
            expected[cavity] = 1
        elif around and around <= {2, 3}:
            expected[cavity] = 3
    assert (filled == expected).all()


def test_cavities_of_a_big_map_are_found_in_every_block():
    label_map = np.zeros((40, 200, 200), np.uint8)  # more voxels than one block holds
    label_map[5:35, 5:195, 5:195] = 1
    holes = [(10, 10, 10), (20, 100, 100), (33, 193, 193)]
    for hole in holes:
        label_map[hole] = 0
    label_map[34, 50, 50] = 0  # open to the outside
    filled = label_map.copy()
    fill_cavities(filled, [(1,)], [1])
    assert [tuple(place) for place in np.argwhere(filled != label_map).tolist()] == holes


def test_values_are_made_compact():
    assert compact(np.array([0, 255], np.int64)).dtype == np.uint8
    assert compact(np.array([0, 256], np.int32)).dtype == np.uint16
    for wrong in (-1, 65536):
        with pytest.raises(DataError, match=rf"0 to 65535, got .*{wrong}"):
            compact(np.array([0, wrong]))


def test_no_voxel_has_no_component():
    assert find_components(np.zeros((2, 3, 4), np.uint8), [(1,)]) is None
