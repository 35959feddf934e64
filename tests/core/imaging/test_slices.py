"""How slices are turned, framed, thinned and shaded."""

import numpy as np
import pytest

from segfw.core.imaging.slices import View, frame_around, to_bytes, view_across, window_of

RIGHT, LEFT, FRONT, BACK, DOWN, UP = (-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)


@pytest.mark.parametrize(
    ("across", "direction", "wanted"),
    [
        (0, None, View((0, 1, 2))),
        (0, (UP, BACK, LEFT), View((0, 1, 2), ends=("R", "L", "A", "P"))),
        (0, (UP, FRONT, RIGHT), View((0, 1, 2), True, True, ("R", "L", "A", "P"))),  # as NIfTI often has it
        (2, (UP, BACK, LEFT), View((2, 0, 1), True, False, ("A", "P", "S", "I"))),  # sagittal: head at the top
        (1, (DOWN, BACK, LEFT), View((1, 0, 2), False, False, ("R", "L", "S", "I"))),  # coronal, stored head first
        (0, (LEFT, BACK, UP), View((0, 2, 1), True, False, ("A", "P", "S", "I"))),  # stored slice by sagittal slice
        (0, (UP, (0.6, 0.8, 0), (0.8, -0.6, 0)), View((0, 1, 2), ends=("R", "L", "A", "P"))),  # oblique: the nearest
        (0, (UP, UP, LEFT), View((0, 1, 2))),  # no three axes: left as it is
    ],
)
def test_images_hang_as_radiologists_hang_them(across, direction, wanted):
    assert view_across(across, direction) == wanted


def test_turning_puts_the_front_and_the_right_side_first():
    volume = np.arange(8).reshape(2, 2, 2)
    turned = view_across(0, (UP, FRONT, RIGHT)).turned(volume)
    assert turned[0].tolist() == [[3, 2], [1, 0]]
    assert view_across(2, (UP, BACK, LEFT)).turned(volume)[0].tolist() == [[4, 6], [0, 2]]


def test_the_frame_lies_around_the_foreground_with_context():
    mask = np.zeros((30, 400, 400), bool)
    mask[10:14, 100:300, 200:240] = True
    frame = frame_around(mask, (5.0, 1.0, 1.0), most_slices=64, longest_edge=500)
    assert frame.slices == tuple(range(8, 16))  # two more on each side
    assert (frame.rows, frame.columns) == ((0, 400), (100, 340))  # 200 mm x CONTEXT on each side, within the image
    assert frame.steps == (1, 1)


def test_a_small_structure_is_not_shown_without_its_surroundings():
    mask = np.zeros((1, 300, 20), bool)
    mask[0, 150, 5] = True
    frame = frame_around(mask, (1.0, 1.0, 1.0), 64, 500)
    assert frame.rows == (102, 199)
    assert frame.columns == (0, 20)
    assert frame.slices == (0,)


def test_an_empty_mask_shows_everything_in_few_slices_of_few_pixels():
    frame = frame_around(np.zeros((101, 512, 300), bool), (1.0, 1.0, 1.0), 5, 128)
    assert frame.slices == (0, 25, 50, 75, 100)
    assert frame.steps == (4, 3)
    assert frame.labels(np.zeros((101, 512, 300), np.uint8)).shape == (5, 128, 100)


def test_reduced_images_and_labels_lie_over_one_another():
    labels = np.zeros((1, 6, 6), np.int16)
    labels[0, 3:6, 0:3] = 7  # a block of its own
    frame = frame_around(np.zeros((1, 6, 6), bool), (1.0, 1.0, 1.0), 1, 2)
    assert frame.steps == (3, 3)
    assert frame.labels(labels).tolist() == [[[0, 0], [7, 0]]]
    assert frame.image(labels.astype(np.float32)).tolist() == [[[0, 0], [7, 0]]]


def test_intensities_become_greys():
    assert to_bytes(np.array([-5.0, 0.0, 5.0, 10.0, 99.0, np.nan]), 0.0, 10.0).tolist() == [0, 0, 128, 255, 255, 0]
    assert to_bytes(np.array([3.0, 4.0]), 3.0, 3.0).tolist() == [0, 255]


def test_the_window_leaves_out_the_extremes():
    values = np.arange(1001, dtype=np.float32)
    assert window_of(values) == (5.0, 995.0)
    assert window_of(np.array([np.nan, 2.0, 2.0])) == (2.0, 2.0)
    assert window_of(np.array([np.nan])) == (0.0, 1.0)
