"""Files that are missing, unreadable, no files or of other channels than declared: each gets its verdict."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from tests.stages.dataset.breakage import assert_verdict, breakages, make_natural, make_two_channels
from tests.stages.tiny_dataset import image_file, image_of, label_file, label_of, make, verdict, write

broken, BREAKAGES = breakages()


@broken(0, None)
def two_channels(folder):
    make_two_channels(folder)


@broken(1, "4d", "bob", "the image is 4D, 2 volumes in one file, and 1 channel is declared")
def image_of_two_times(folder):
    write(image_file(folder, "bob"), np.stack([image_of("bob")] * 2))


@broken(1, "channels", "ann", "3 channels in 1 file, 1 declared")
def color_where_grey_is_declared(folder):
    make_natural(folder, components=3, channels=1)


@broken(1, "channels", "ann", "4 channels in 1 file, 3 declared")
def alpha_that_varies(folder):
    make_natural(folder, components=4)


@broken(0, "alpha", "an alpha channel of one value is left out")
def alpha_that_says_nothing(folder):
    make_natural(folder, components=4, last=255)


@broken(0, None)
def color(folder):
    make_natural(folder, components=3)


@broken(1, "shape", "cyd", "label map: 1 x 4 x 6 voxels (z, y, x), the image 1 x 5 x 6")
def natural_label_of_another_shape(folder):
    make_natural(folder, components=3)
    sitk.WriteImage(sitk.GetImageFromArray(label_of("cyd")[1, :4]), str(label_file(folder, "cyd", ".png")))


@broken(1, "missing", "bob", "label map: there is no file bob.nii.gz")
def no_label(folder):
    label_file(folder, "bob").unlink()


@broken(1, "missing", "bob", "label map: there is no file bob.nii.gz")
def dangling_link(folder):
    label_file(folder, "bob").unlink()
    label_file(folder, "bob").symlink_to("/nowhere/bob.nii.gz")


@broken(1, "unreadable", "bob", "label map bob.nii.gz: this is no regular file")
def pipe_for_a_label_map(folder):
    label_file(folder, "bob").unlink()
    os.mkfifo(label_file(folder, "bob"))


@broken(1, "unreadable", "bob", "label map bob.nii.gz: this is no regular file")
def device_for_a_label_map(folder):
    label_file(folder, "bob").unlink()
    label_file(folder, "bob").symlink_to("/dev/zero")


@broken(1, "missing", "cyd", "channel 1: there is no file cyd_0001.nii.gz")
def no_second_channel(folder):
    make_two_channels(folder)
    image_file(folder, "cyd", 1).unlink()


@broken(1, "unreadable", "ann", "image ann_0000.nii.gz: ")
def truncated_image(folder):
    path = image_file(folder, "ann")
    path.write_bytes(path.read_bytes()[:-40])


@broken(1, "unreadable", "ann", "label map ann.nii.gz: ")
def truncated_label(folder):
    path = label_file(folder, "ann")
    path.write_bytes(path.read_bytes()[:60])


@broken(1, "unreadable", "ann", "image ann_0000.nii.gz: ")
def empty_file(folder):
    image_file(folder, "ann").write_bytes(b"")


@broken(1, "unreadable", "bob", "label map bob.nii.gz: ")
def text_for_an_image(folder):
    label_file(folder, "bob").write_text("version https://git-lfs.github.com/spec/v1\n")


@broken(1, "unreadable", "bob", "image bob_0000.nii.gz: ")
def other_format_under_the_name(folder):
    write(folder / "other.mha", image_of("bob"))
    (folder / "other.mha").rename(image_file(folder, "bob"))


@broken(1, "unreadable", "cyd", "image cyd_0000.nii.gz: ", "real numbers")
def complex_numbers(folder):
    write(image_file(folder, "cyd"), image_of("cyd").astype(np.complex64))


@broken(1, "unreadable", "bob", "label map bob.nii.gz: ")
def folder_for_a_file(folder):
    label_file(folder, "bob").unlink()
    label_file(folder, "bob").mkdir()


@broken(1, "unreadable", "cyd", "channel 0 cyd_0000.nii.gz: ")
def first_channel_unreadable(folder):
    make_two_channels(folder)
    image_file(folder, "cyd", 0).write_bytes(b"")


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_gets_its_verdict(name, tmp_path, caplog):
    assert_verdict(BREAKAGES[name], tmp_path, caplog)


def test_a_folder_without_dicom_is_told_once(tmp_path, caplog):
    folder = make(tmp_path / "Tiny")
    folder_for_a_file(folder)
    status, _, rows, _ = verdict(folder, tmp_path / "out", caplog)
    assert status == 1
    assert not [row for row in rows if "content hash" in row or "Is a directory" in row]
