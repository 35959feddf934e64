"""Distances of surfaces against all pairs of border voxels and against numbers derived by hand."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfw.core.scoring import surface
from segfw.core.scoring.surface import border, compare_surfaces, nearest_distances

MASKS = arrays(np.bool_, (4, 5, 6))
SPACINGS = st.tuples(*[st.floats(0.3, 5)] * 3)


def plain_border(mask):
    """List the voxels of `mask` that have a face neighbour outside it, one by one."""
    found = []
    for voxel in np.argwhere(mask):
        steps = [tuple(voxel + step) for one in np.eye(mask.ndim, dtype=int) for step in (one, -one)]
        if not all(min(step) >= 0 and all(np.less(step, mask.shape)) and mask[step] for step in steps):
            found.append(voxel)
    return np.array(found)


def plain_distances(start, goal, spacing):
    """Take the least of all pairs."""
    return np.sqrt((((start[:, None] - goal[None]) * spacing) ** 2).sum(-1)).min(1)


@settings(deadline=None, max_examples=60)
@given(MASKS, MASKS, SPACINGS, st.floats(0, 10))
def test_all_pairs_agree(reference, prediction, spacing, tolerance):
    reference[1, 2, 3] = prediction[2, 2, 2] = True
    found = compare_surfaces(reference, prediction, spacing, tolerance)
    borders = plain_border(reference), plain_border(prediction)
    there, back = plain_distances(*borders, spacing), plain_distances(*borders[::-1], spacing)
    both = np.concatenate([there, back])
    assert found.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found.assd == pytest.approx(both.mean())
    if np.abs(both - tolerance).min() > 1e-6:
        assert found.nsd == pytest.approx((both <= tolerance).mean())


@pytest.mark.parametrize("ways", [{"_DENSE": 1 << 30}, {"_DENSE": 1, "_VISITS": 0}, {"_DENSE": 1, "_VISITS": 1 << 30}])
@pytest.mark.parametrize("reach", [0.6, 8])
def test_tree_and_transform_agree(monkeypatch, ways, reach):
    generator = np.random.default_rng(0)
    start, goal = (generator.random((9, 10, 11)) < share for share in (0.1, 0.02))
    spacing = np.array([2.5, 0.7, 0.7])
    expected = plain_distances(np.argwhere(start), np.argwhere(goal), spacing)
    for name, value in {**ways, "_REACH": reach}.items():
        monkeypatch.setattr(surface, name, value)
    np.testing.assert_allclose(nearest_distances(start, goal, spacing), expected, rtol=1e-12)


@settings(deadline=None, max_examples=40)
@given(MASKS, MASKS, SPACINGS)
def test_the_two_masks_may_change_places(a, b, spacing):
    a[0, 0, 0] = b[3, 4, 5] = True
    swapped = compare_surfaces(b, a, spacing, 1.0)
    assert astuple(compare_surfaces(a, b, spacing, 1.0)) == pytest.approx(astuple(swapped), abs=1e-12)
    alike = compare_surfaces(a, a, spacing, 0.0)
    assert (alike.hd95, alike.assd, alike.nsd) == (0, 0, 1)


def test_two_cubes_by_hand():
    """A cube of 3 voxels, and the same moved by two along an axis of 1.5 mm; 26 of 27 voxels are border.

    The first slab of 9 lies 3 mm from the other cube, the 8 border voxels of the second 1.5 mm, the third within it.
    """
    a, b = np.zeros((2, 3, 3, 5), bool)
    a[..., :3] = b[..., 2:] = True
    found = compare_surfaces(a, b, (1.0, 1.0, 1.5), 1.5)
    assert found.hd95 == 3.0
    assert found.assd == pytest.approx((9 * 3.0 + 8 * 1.5) / 26)
    assert found.nsd == pytest.approx(17 / 26)
    assert compare_surfaces(a, b, (1.0, 1.0, 1.5), 1.49).nsd == pytest.approx(9 / 26)


def test_a_tolerance_counts_however_it_is_rounded():
    a, b = np.zeros((2, 1, 10), bool)
    a[0, 2] = b[0, 5] = True
    assert 3 * 0.1 > 0.3
    assert compare_surfaces(a, b, (1.0, 0.1), 0.3).nsd == 1


def test_the_border():
    mask = np.ones((1, 4, 5), bool)
    assert border(mask, (1, 2)).sum() == 20 - 2 * 3  # a 2D image: its outline
    assert border(mask, (0, 1, 2)).all()  # a slice: everything beyond it is outside
    assert border(np.ones((1, 1), bool), ()).all()


def test_a_flat_image_has_an_outline():
    a, b = np.zeros((2, 1, 7, 7), bool)
    a[0, 1:6, 1:6], b[0, 2:5, 2:5] = True, True
    found = compare_surfaces(a, b, (999.0, 1.0, 1.0), 1.0)
    # outer ring of 16: 12 at 1, 4 corners at sqrt(2); inner ring of 8, all at 1
    assert found.assd == pytest.approx((20 + 4 * math.sqrt(2)) / 24)
    assert found.nsd == pytest.approx(20 / 24)


def test_empty_masks():
    nothing, something = np.zeros((2, 3, 3), bool)
    something[1, 1] = True
    for pair in ((nothing, something), (something, nothing)):
        found = compare_surfaces(*pair, (1.0, 1.0), 1.0)
        assert (math.isnan(found.hd95), math.isnan(found.assd), found.nsd) == (True, True, 0)
    none = compare_surfaces(nothing, nothing, (1.0, 1.0), 1.0)
    assert all(math.isnan(value) for value in (none.hd95, none.assd, none.nsd))
