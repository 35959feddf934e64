"""Label maps and channels on other grids than the image, and some that only look so: each gets its verdict."""

import numpy as np
import pytest

from tests.stages.dataset.breakage import assert_verdict, breakages, make_two_channels
from tests.stages.tiny_dataset import CASES, SPACING, image_file, image_of, label_file, label_of, write

broken, BREAKAGES = breakages()


@broken(1, "shape", "bob", "label map: 4 x 5 x 7 voxels (z, y, x), the image 4 x 5 x 6")
def label_of_another_shape(folder):
    write(label_file(folder, "bob"), np.ones((4, 5, 7), np.uint8))


@broken(1, "spacing", "bob", "spacing 2.2 x 0.5 x 0.5 mm", "0.1 voxels (0.2 mm) off", "verify.tolerance=0.11 accepts")
def label_of_another_spacing(folder):
    write(label_file(folder, "bob"), label_of("bob"), spacing=(0.5, 0.5, 2.2))


@broken(
    1,
    "origin",
    "cyd",
    "origin (0, 3, 4) mm, the image (0, 0, 0)",
    "6 voxels (5 mm) off; too far for a tolerance, use verify.fix",
)
def label_moved(folder):
    write(label_file(folder, "cyd"), label_of("cyd"), origin=(0, 3, 4))


@broken(1, "direction", "ann", "180 degrees: cosines 2 off; too far for a tolerance, use verify.fix")
def label_flipped(folder):
    write(label_file(folder, "ann"), label_of("ann"), direction=np.diag([-1, 1, 1]))


def turn_label(folder, degrees):
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    direction = [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]
    write(label_file(folder, "ann"), label_of("ann"), direction=direction)


@broken(1, "direction", "ann", "turned by up to 5 degrees", "cosines 0.0872 off; too far for a tolerance")
def label_turned(folder):
    turn_label(folder, 5)


@broken(1, "direction", "ann", "180 degrees: cosines 2 off", tolerance=6.0)
def label_flipped_under_a_wide_tolerance(folder):
    label_flipped(folder)


@broken(1, "direction", "ann", "turned by up to 2 degrees", "0.0349 off; verify.tolerance=0.035 accepts")
def label_turned_a_little(folder):
    turn_label(folder, 2)


@broken(0, None, tolerance=0.035)
def label_turned_a_little_and_accepted(folder):
    label_turned_a_little(folder)


@broken(0, None)
def label_moved_within_tolerance(folder):
    write(label_file(folder, "bob"), label_of("bob"), origin=(0.0004, 0, 0))


@broken(0, None, tolerance=6.0)
def label_moved_within_a_tolerance_of_ones_own(folder):
    label_moved(folder)


@broken(1, "axes", "bob", "label map: a 3D file, the image a 2D one")
def plane_image_and_volume_label(folder):
    for case in CASES:
        write(image_file(folder, case), image_of(case)[0], SPACING[:2], (0.0, 0.0))
        write(label_file(folder, case), label_of(case)[1], SPACING[:2], (0.0, 0.0))
    write(label_file(folder, "bob"), label_of("bob")[1:2])


@broken(1, "shape", "bob", "channel 1 (T2): 4 x 5 x 5 voxels")
def second_channel_of_another_shape(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), np.ones((4, 5, 5), np.int16))


@broken(1, "spacing", "bob", "channel 1 (T2): spacing 2 x 0.5 x 0.6 mm", "0.2 voxels (0.1 mm) off")
def second_channel_of_another_spacing(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), image_of("bob"), spacing=(0.6, 0.5, 2))


@broken(1, "origin", "bob", "channel 1 (T2): origin (1, 0, 0) mm", "2 voxels (1 mm) off")
def second_channel_moved(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), image_of("bob"), origin=(1, 0, 0))


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_gets_its_verdict(name, tmp_path, caplog):
    assert_verdict(BREAKAGES[name], tmp_path, caplog)
