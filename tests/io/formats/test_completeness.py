"""A file whose header is whole and whose voxels are not is told apart without the voxels being read."""

import struct

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from segfw.core.errors import DataError
from segfw.io.formats.readers import read_geometry, read_image

NOISE = np.random.default_rng(0).integers(0, 60000, (6, 30, 40), np.uint16)
VOLUMES = [".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz", ".mrc", ".vtk"]


def cut(folder, share):
    """Keep a share of the largest file in a folder: of two files, that of the voxels."""
    file = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


@pytest.mark.parametrize("ending", VOLUMES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("share", [0.99, 0.5])
def test_volumes(tmp_path, ending, packed, share):
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path), useCompression=packed)
    assert read_geometry(path).ndim == 3
    cut(tmp_path, share)
    with pytest.raises(DataError, match=r"cannot read .*/a\.\w+(\.gz)?: the file is truncated"):
        read_geometry(path)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("share", [0.99, 0.5])
def test_pictures(tmp_path, ending, share):
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk.GetImageFromArray((NOISE[0] >> 8).astype(np.uint8)), str(path))
    assert read_geometry(path).ndim == 2
    cut(tmp_path, share)
    with pytest.raises(DataError, match=rf"cannot read .*a\{ending}: the file is truncated"):
        read_geometry(path)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}, {"tile": (16, 16)}])
def test_stacks_of_pages(tmp_path, options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, NOISE, metadata={"axes": "ZYX"}, **options)
    assert read_geometry(path).ndim == 3
    cut(tmp_path, 0.99)
    with pytest.raises(DataError, match=r"cannot read .*a\.tif: ."):
        read_geometry(path)


@pytest.mark.parametrize("kind", ["colors", "float64", "4D"])
def test_every_voxel_counts_with_its_bytes(tmp_path, kind):
    path = tmp_path / "a.nrrd"
    array = np.stack([NOISE] * 3, -1) if kind == "colors" else np.stack([NOISE] * 2) if kind == "4D" else NOISE * 1.0
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=kind == "colors"), str(path))
    assert read_geometry(path).ndim == 3
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"truncated, \d+ of at least {path.stat().st_size + 1} bytes"):
        read_geometry(path)


def test_slices_in_files_of_their_own_are_left_to_the_reader(tmp_path):
    for number, voxels in enumerate(NOISE):
        (tmp_path / f"s{number}.raw").write_bytes(voxels.tobytes())
    head = "NRRD0004\ntype: uint16\ndimension: 3\nsizes: 40 30 6\nencoding: raw\nendian: little\nspace dimension: 3\n"
    (tmp_path / "a.nhdr").write_text(f"{head}space directions: (1,0,0) (0,1,0) (0,0,1)\ndata file: s%d.raw 0 5 1\n")
    assert read_geometry(tmp_path / "a.nhdr").ndim == 3


def test_voxels_as_text_and_long_headers_are_left_to_the_reader(tmp_path):
    head = "ObjectType = Image\nNDims = 2\nBinaryData = False\nDimSize = 3 2\nElementType = MET_DOUBLE\n"
    (tmp_path / "a.mha").write_text(f"{head}ElementDataFile = LOCAL\n0 1 0 1 0 1\n")
    assert read_geometry(tmp_path / "a.mha").ndim == 2
    image = sitk.GetImageFromArray(NOISE)
    image.SetMetaData("Segments", "x" * 70000)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"), useCompression=True)
    assert read_geometry(tmp_path / "a.nrrd").ndim == 3


@pytest.mark.parametrize("spacing", [float("nan"), float("inf")])
def test_a_spacing_that_is_no_number_is_not_taken_for_a_millimetre(tmp_path, spacing):
    path = tmp_path / "a.nii"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 84, spacing)  # pixdim[2], of the y axis
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"cannot read .*a.nii: .* spacing \(x first\) of \[1.0, {spacing}, 1.0\]"):
        read_geometry(path)


@pytest.mark.parametrize(("lean", "sound"), [(0.001, True), (0.5, False)])
def test_axes_that_lean_are_refused(tmp_path, lean, sound):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path))
    path.write_bytes(path.read_bytes().replace(b"(0,1,0)", b"(%g,1,0)" % lean, 1))
    if sound:
        assert read_geometry(path).ndim == 3
        return
    with pytest.raises(DataError, match=r"a.nrrd: the axes in its header are not at right angles; .*; got"):
        read_geometry(path)
    with pytest.raises(DataError, match=r"a.nrrd: the axes in its header are not at right angles; .*; got"):
        read_image([path])


def test_a_part_of_a_png_that_is_longer_than_the_file_is_refused_before_room_is_made(tmp_path):
    path = tmp_path / "a.png"
    sitk.WriteImage(sitk.GetImageFromArray((NOISE[0] >> 8).astype(np.uint8)), str(path))
    content = path.read_bytes()
    path.write_bytes(content[:33] + struct.pack(">I4s", 201326596, b"sCAL") + content[33:])  # behind the header
    with pytest.raises(
        DataError, match=r"cannot read .*a.png: .* its part 'sCAL' states 201326596 bytes, \d+ are left"
    ):
        read_geometry(path)
