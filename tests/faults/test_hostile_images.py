"""Whatever lies in an image file's place is read sanely or refused by name: no crash, no hang, no memory without bound.

`python -m scripts.fuzz images` draws from the same strategies at length.
"""

import gzip
import os
import struct
import zlib
from functools import cache

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings

from segfw.core.errors import DataError
from segfw.io.formats.readers import read_geometry, read_image, read_label
from tests.faults.hostile_images import IMAGES, NIFTI1, Hostile, chunk, valid
from tests.faults.reading_process import ReadingProcess
from tests.io.formats.dicom_files import write_slice

ZEROS = 8 * 2**20
few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def reader():
    with ReadingProcess() as process:
        yield process


@pytest.mark.parametrize("kind", IMAGES)
def test_damaged_files_are_read_or_refused(reader, tmp_path_factory, kind):
    @few
    @given(IMAGES[kind])
    def each(hostile):
        answer = reader.answer(hostile.write(tmp_path_factory.mktemp(kind)))
        assert answer["outcome"] in ("read", "refused"), (hostile.how, answer["told"])

    each()


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".vtk", ".gipl", ".mrc", ".tif", ".dcm"])
def test_what_is_damaged_there_was_sound(reader, tmp_path, ending):
    files = valid(ending, "<i2" if ending == ".dcm" else "<u2")
    answer = reader.answer(Hostile(f"a{ending}", files, "").write(tmp_path))
    assert (answer["outcome"], answer["told"]) == ("read", "")


def nifti_of(*sizes):
    """A valid NIfTI-1 file of bytes that says it has other sizes."""
    content = bytearray(valid(".nii", "|u1")["a.nii"])
    struct.pack_into("<8h", content, NIFTI1["dim"][0], len(sizes), *sizes, *[1] * (7 - len(sizes)))
    return bytes(content)


def png_of(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


@cache
def bombs():
    """Name of a file -> its content and what is said of it, None where it is sound in spite of all."""
    zeros = gzip.compress(bytes(ZEROS), mtime=0)
    nrrd = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 99999 99999 9999\nencoding: gzip\n\n"
    meta = b"NDims = 3\nDimSize = 99999 99999 9999\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    filler, row = zlib.compress(bytes(ZEROS)), zlib.compress(bytes(8))
    text = chunk(b"zTXt", b"a\0\0" + filler) + chunk(b"iCCP", b"a\0\0" + filler)
    return {
        "stated.nii.gz": (gzip.compress(nifti_of(32767, 32767, 32767)), "truncated|packed bytes"),
        "stated_within.nii.gz": (gzip.compress(nifti_of(32767, 32767, 32767)) + zeros, "truncated|packed bytes"),
        "endless.nii.gz": (gzip.compress(nifti_of(7, 6, 5)) + zeros * 512, None),  # 4 GiB follow what is asked for
        "stated.nrrd": (nrrd + zeros[:9999], "truncated|packed bytes"),
        "stated.mha": (meta, "truncated"),
        "huge.png": (png_of(60000, 60000, chunk(b"IDAT", zlib.compress(bytes(999)))), "packed bytes"),
        "text.png": (png_of(7, 1, text, chunk(b"IDAT", row)), None),
        "wide.bmp": (b"BM" + struct.pack("<IIIIiiHHI", 99, 0, 54, 40, 40000, 40000, 1, 8, 0) + bytes(99), "truncated"),
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_take_no_more_memory_than_the_voxels(reader, tmp_path, name):
    content, said = bombs()[name]
    (tmp_path / name).write_bytes(content)
    answer = reader.answer(tmp_path / name)
    if said is None:
        assert answer["outcome"] == "read", answer["told"]
    else:
        assert answer["outcome"] == "refused", answer["told"]
        with pytest.raises(DataError, match=rf"cannot read .*{name}: .*({said})"):
            read_image([tmp_path / name])


def test_strips_that_the_file_does_not_have_are_not_made_room_for(reader, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((6, 7), np.uint8), compression="zlib")
    content = bytearray(path.read_bytes())
    for tag in (256, 257, 278):  # width, height, rows of a strip
        struct.pack_into("<I", content, content.find(struct.pack("<HH", tag, 4)) + 8, 200_000)
    path.write_bytes(content)
    assert reader.answer(path)["outcome"] == "refused"


@pytest.mark.parametrize("read", [lambda path: read_image([path]), read_label, read_geometry])
def test_what_is_no_file_is_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "device.nii").symlink_to("/dev/zero")
    (tmp_path / "nowhere.png").symlink_to("missing.png")
    (tmp_path / "round.tif").symlink_to("round.tif")
    (tmp_path / "folder.nrrd").mkdir()
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "voxels.mhd").write_text("NDims = 1\nDimSize = 8\nElementType = MET_UCHAR\nElementDataFile = pipe\n")
    (tmp_path / "voxels.nhdr").write_text("NRRD0004\ntype: uchar\ndimension: 1\nsizes: 8\ndata file: /dev/zero\n")
    os.mkfifo(tmp_path / "pipe")
    said = {
        "pipe.nii.gz": "this is no regular file",
        "device.nii": "this is no regular file",
        "nowhere.png": "there is no such file",
        "round.tif": "there is no such file",
        "folder.nrrd": "this folder holds no DICOM series",
        "empty.nii.gz": "this is no NIfTI header",
        "voxels.mhd": "line 4 of its header names .*pipe for its voxels, which is no regular file",
        "voxels.nhdr": "line 5 of its header names /dev/zero for its voxels",
    }
    for name, words in said.items():
        with pytest.raises(DataError, match=rf"cannot read .*{name}: {words}"):
            read(tmp_path / name)


def test_a_series_with_what_is_no_file_beside_it_is_read(tmp_path):
    for number in range(3):
        write_slice(tmp_path / f"{number}.dcm", np.full((4, 5), number, np.int16), position=(0, 0, number))
    os.mkfifo(tmp_path / "3.dcm")
    (tmp_path / "4.dcm").symlink_to("nowhere")
    assert read_image([tmp_path]).array[0, :, 0, 0].tolist() == [0, 1, 2]
