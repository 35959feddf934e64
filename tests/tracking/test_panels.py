"""Slices and contours, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.image import imread

from segfw.core.imaging import slices
from segfw.tracking import panels
from segfw.tracking.panels import contour, fullest_slice, overlay, save_picture, side_by_side

BLUE = (0x25, 0x63, 0xA8)
LIGHT_BLUE = tuple((channel + 255) // 2 for channel in BLUE)


def test_the_contour_of_a_square_is_its_rim():
    square = np.zeros((5, 5), bool)
    square[1:4, 1:4] = True
    rim = square.copy()
    rim[2, 2] = False
    assert np.array_equal(contour(square), rim)


def test_what_touches_the_edge_ends_there():
    assert np.array_equal(contour(np.ones((3, 3), bool)), [[1, 1, 1], [1, 0, 1], [1, 1, 1]])


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(1, 3))
def test_a_wider_contour_holds_the_narrower_and_never_leaves_the_mask(mask, width):
    wide = contour(mask, width + 1)
    assert not (wide & ~mask).any()
    assert not (contour(mask, width) & ~wide).any()


def test_grey_runs_from_black_to_white_and_contours_lie_over_it(monkeypatch):
    monkeypatch.setattr(panels, "SIDE", 4)
    monkeypatch.setattr(slices, "WINDOW", (0, 100))
    monkeypatch.setattr(panels, "WIDTH", 1)
    image = np.array([[0.0, 1, 2, 3]] * 4)
    true, nothing = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    true[0, 0] = True
    picture = overlay(image, {"liver": true}, {"liver": nothing})
    assert picture.shape == (4, 4, 3)
    assert tuple(picture[0, 0]) == BLUE
    assert [tuple(pixel) for pixel in picture[1]] == [(0,) * 3, (85,) * 3, (170,) * 3, (255,) * 3]


def test_a_predicted_contour_is_dashed_in_a_lighter_shade(monkeypatch):
    monkeypatch.setattr(panels, "SIDE", 24)
    mask, nothing = np.ones((24, 24), bool), np.zeros((24, 24), bool)
    picture = overlay(np.zeros((24, 24)), {"liver": nothing}, {"liver": mask})
    top = [tuple(pixel) for pixel in picture[0]]
    assert top == ([LIGHT_BLUE] * 4 + [(0, 0, 0)] * 4) * 3


def test_small_slices_are_enlarged_by_whole_factors():
    assert overlay(np.zeros((5, 100)), {}, {}).shape == (15, 300, 3)
    assert overlay(np.zeros((300, 10)), {}, {}).shape == (300, 10, 3)


def test_pictures_stand_side_by_side():
    joint = side_by_side([np.full((2, 3, 3), 9, np.uint8), np.full((4, 1, 3), 7, np.uint8)])
    assert joint.shape == (4, 3 + panels.GAP + 1, 3)
    assert (joint[:2, :3] == 9).all()
    assert (joint[:, -1] == 7).all()
    assert joint.sum() == 3 * (6 * 9 + 4 * 7)


@pytest.mark.parametrize(("counts", "best"), [((0, 3, 3, 1), 1), ((0, 0, 0, 0), 2)])
def test_the_fullest_slice(counts, best):
    mask = np.array([[number < count for number in range(4)] for count in counts])
    assert fullest_slice(mask) == best


def test_a_picture_is_written_as_png(tmp_path):
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    save_picture(picture, tmp_path / "one.png")
    assert np.array_equal(np.rint(imread(tmp_path / "one.png")[..., :3] * 255).astype(np.uint8), picture)
