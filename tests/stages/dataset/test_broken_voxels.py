"""Voxels that are no numbers and label values that nobody declared, and maps that are sound: each gets its verdict."""

import numpy as np
import pytest

from tests.stages.dataset.breakage import assert_verdict, breakages, changed, make_two_channels
from tests.stages.tiny_dataset import CASES, SHAPE, describe, image_file, image_of, label_file, label_of, write

broken, BREAKAGES = breakages()


@broken(1, "not-finite", "ann", "channel 0 (CT): 2 voxels are NaN or infinite, the first at (1, 2, 3)")
def nan_voxels(folder):
    write(image_file(folder, "ann"), changed(image_of("ann"), float("nan"), (1, 2, 3), (3, 0, 0)))


@broken(1, "not-finite", "ann", "1 voxel is NaN or infinite, the first at (0, 0, 5)")
def infinite_voxel(folder):
    write(image_file(folder, "ann"), changed(image_of("ann"), float("-inf"), (0, 0, 5)))


@broken(1, "not-finite", "bob", "channel 1 (T2): 1 voxel is NaN")
def nan_in_the_second_channel(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), changed(image_of("bob"), float("nan"), (0, 0, 0)))


@broken(1, "not-finite", "ann", "channel 1 (late): 1 voxel is NaN or infinite, the first at (1, 2, 3)")
def nan_in_the_second_volume(folder):
    describe(folder, channel_names={"0": "early", "1": "late"})
    for case in CASES:
        write(image_file(folder, case), np.stack([image_of(case), image_of(case)]))
    volumes = changed(np.stack([image_of("ann"), image_of("ann")]), float("nan"), (1, 1, 2, 3))
    write(image_file(folder, "ann"), volumes)


@broken(1, "label-values", "bob", "value 7 in 1 voxel; declared are 0, 1, 2")
def one_foreign_value(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), 7, (0, 0, 0)))


@broken(1, "label-values", "cyd", "values 2, 3, 4, 5, 6 and 1 more in 6 voxels; declared are 0, 1")
def many_foreign_values(folder):
    describe(folder, labels={"background": 0, "liver": 1})
    for case in CASES:
        write(label_file(folder, case), np.minimum(label_of(case), 1))
    array = np.minimum(label_of("cyd"), 1)
    array[0, 0, :] = range(2, 8)
    write(label_file(folder, "cyd"), array)


@broken(1, "label-values", "ann", "value 255 in 3 voxels; declared are 0, 1; 'task.remap={255:1}' would renumber them")
def masks_of_255(folder):
    describe(folder, labels={"background": 0, "liver": 1})
    for case in CASES:
        write(label_file(folder, case), np.where(label_of(case) > 0, 255, 0).astype(np.uint8))


@broken(1, "label-values", "bob", "values 85, 170 in 3 voxels", "'task.remap={85:1,170:2}' would renumber them")
def labels_stretched_over_the_bytes(folder):
    for case in CASES:
        write(label_file(folder, case), label_of(case) * 85)


@broken(0, None, task={"remap": {85: 1, 170: 2}})
def labels_renumbered_in_reading(folder):
    labels_stretched_over_the_bytes(folder)


@broken(1, "label-values", "cyd", "value 3 in 1 voxel", "if these voxels are not annotated, declare ignore: 3")
def ignored_but_not_declared_so(folder):
    for case in ("bob", "cyd"):
        write(label_file(folder, case), changed(label_of(case), 3, (0, 0, 0)))


@broken(1, "label-values", "bob", "value -1 in 1 voxel")
def negative_value(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), -1, (0, 0, 0)))


@broken(1, "not-integer", "bob", "2 voxels are no whole number, such as 0.5")
def fractions(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), 0.5, (0, 0, 0), (0, 0, 1)))


@broken(1, "not-finite", "bob", "label map: 1 voxel is NaN or infinite, the first at (0, 0, 0)")
def nan_in_a_label_map(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), float("nan"), (0, 0, 0)))


@broken(1, "not-integer", "bob", "60 voxels are no whole number, such as 0.5")
def fractions_and_background(folder):
    write(label_file(folder, "bob"), changed(np.zeros(SHAPE), 0.5, slice(2)))


@broken(0, None)
def whole_numbers_as_floats(folder):
    write(label_file(folder, "bob"), label_of("bob").astype(np.float64))


@broken(1, "label-channels", "cyd", "the label map has 3 channels, 1 is allowed")
def one_hot_label(folder):
    write(label_file(folder, "cyd"), np.stack([label_of("cyd") == value for value in range(3)]).astype(np.uint8))


@broken(0, "empty-label", "ann", "nothing but background")
def empty_label(folder):
    write(label_file(folder, "ann"), np.zeros(SHAPE, np.uint8))


@broken(0, "empty-label", "ann", "nothing but background and ignore")
def label_that_says_nothing(folder):
    describe(folder, labels={"background": 0, "liver": 1, "tumor": 2, "ignore": 3})
    write(label_file(folder, "ann"), changed(np.zeros(SHAPE), 3, (0, 0)))


@broken(0, None)
def regions_and_ignore(folder):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    describe(folder, labels=labels, regions_class_order=[1, 2])
    write(label_file(folder, "ann"), changed(label_of("ann"), 3, (0, 0)))


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_gets_its_verdict(name, tmp_path, caplog):
    assert_verdict(BREAKAGES[name], tmp_path, caplog)
