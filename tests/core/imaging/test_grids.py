"""Differences of grids are measured in the first grid's voxels, along its axes."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.imaging.grids import accepting, compare_grids
from segfw.core.types import Geometry, Volume

UPRIGHT = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
SPACING = (4.0, 0.5, 0.25)  # z, y, x


def volume(spacing=SPACING, origin=(0.0, 0.0, 0.0), direction=UPRIGHT, shape=(2, 3, 4)):
    return Volume(np.zeros((1, *shape), np.float32), spacing, Geometry(spacing, origin, direction))


def kinds(other, tolerance=1e-3, **options):
    return [difference.kind for difference in compare_grids(volume(), other, tolerance, **options)]


def test_equal_grids_do_not_differ_even_without_tolerance():
    assert kinds(volume(), tolerance=0.0) == []


@given(
    voxels=st.floats(-50, 50).filter(lambda v: abs(abs(v) - 0.1) > 1e-6),
    axis=st.integers(0, 2),
    turn=st.permutations([0, 1, 2]),
)
def test_a_shift_is_found_exactly_when_it_is_beyond_the_tolerance(voxels, axis, turn):
    direction = tuple(UPRIGHT[i] for i in turn)
    origin = np.array([10.0, -20.0, 30.0])
    moved = origin + voxels * SPACING[axis] * np.array(direction[axis])
    first = volume(origin=tuple(origin), direction=direction)
    found = compare_grids(first, volume(origin=tuple(moved), direction=direction), 0.1)
    assert [difference.kind for difference in found] == (["origin"] if abs(voxels) > 0.1 else [])
    if found:
        size, unit, millimetres = re.search(r"([\d.]+) (voxels?) \(([\d.]+) mm\) off", found[0].message).groups()
        assert (float(size), unit == "voxel") == (pytest.approx(abs(voxels), rel=5.1e-3), size == "1")
        assert float(millimetres) == pytest.approx(
            abs(voxels) * SPACING[axis], rel=5.1e-3
        )  # three digits, ties either way


@given(st.floats(1e-6, 1e6))
def test_the_tolerance_that_is_proposed_accepts_and_is_no_more_than_a_tenth_larger(size):
    assert size <= float(accepting(size)) <= size * 1.11


def test_the_share_of_the_spacing_counts():
    assert kinds(volume(spacing=(4.0, 0.5, 0.28125)), tolerance=0.125) == []
    (found,) = compare_grids(volume(), volume(spacing=(4.0, 0.5, 0.28125)), 0.12)
    assert found.message == (
        "spacing 4 x 0.5 x 0.28125 mm, the image 4 x 0.5 x 0.25: 0.125 voxels (0.0312 mm) off; "
        "verify.tolerance=0.13 accepts it"
    )


def test_every_difference_is_told():
    turned = (UPRIGHT[0], UPRIGHT[2], UPRIGHT[1])
    other = volume((4.0, 0.5, 1.0), (1.0, 0.0, 0.0), turned, shape=(2, 4, 3))
    assert kinds(other) == ["shape", "spacing", "origin", "direction"]


def test_a_file_without_positions_is_compared_by_shape_and_by_a_spacing_that_is_stated():
    other = volume((4.0, 0.5, 1.0), (9.0, 9.0, 9.0))
    assert kinds(other, positioned=False) == ["spacing"]
    assert kinds(volume((1.0, 1.0, 1.0), (9.0, 9.0, 9.0)), positioned=False) == ["spacing"]
    assert kinds(other, positioned=False, spaced=False) == []
    assert kinds(Volume(np.zeros((1, 2, 3, 5)), SPACING), positioned=False) == ["shape"]


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3), st.floats(0, 1e6))
def test_no_tolerance_accepts_a_flip_or_a_quarter_turn(turn, signs, tolerance):
    direction = tuple(tuple(sign * value for value in UPRIGHT[i]) for i, sign in zip(turn, signs, strict=True))
    same = list(turn) == [0, 1, 2] and set(signs) == {1.0}
    found = compare_grids(volume(), volume(direction=direction), tolerance)
    assert [difference.kind for difference in found] == ([] if same else ["direction"])
    assert not any("verify.tolerance" in difference.message for difference in found)


@pytest.mark.parametrize(
    ("voxels", "remedy"),
    [(0.25, "verify.tolerance=0.25 accepts it"), (0.75, "too far for a tolerance, use verify.fix")],
)
def test_a_tolerance_is_proposed_below_half_a_voxel(voxels, remedy):
    (found,) = compare_grids(volume(), volume(origin=(voxels * 0.25, 0.0, 0.0)), 1e-3)
    assert found.message.endswith(f"off; {remedy}")
    (found,) = compare_grids(volume(), volume(spacing=(4.0 * (1 + voxels), 0.5, 0.25)), 1e-3)
    assert found.message.endswith(f"off; {remedy}")


@pytest.mark.parametrize(("size", "text"), [(0.0011, "0.0011"), (0.00111, "0.0012"), (6.0, "6"), (123.0, "1.3e+02")])
def test_the_proposed_tolerance_has_two_digits(size, text):
    assert accepting(size) == text
