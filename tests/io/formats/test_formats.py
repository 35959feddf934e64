"""Every ending: what it can hold comes back, what it cannot is refused; nothing is misread."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segfw.core.errors import DataError, UsageError
from segfw.core.support.files import remove_remains
from segfw.core.types import Geometry
from segfw.io.datasets.listing import image_files
from segfw.io.formats.endings import NATURAL_ENDINGS, UNDIRECTED_ENDINGS, VOLUME_ENDINGS
from segfw.io.formats.images import plain_geometry, volume_from_image
from segfw.io.formats.readers import read_geometry, read_image, read_label, write_label
from segfw.io.formats.writing import label_ending

DIRECTED_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".mnc")


def turned(seed):
    return tuple(
        tuple(float(v) for v in row) for row in np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    )


def save(path, array, is_vector=False):
    sitk.WriteImage(sitk.GetImageFromArray(np.asarray(array), isVector=is_vector), str(path))
    return path


def png(path, bits, kind, rows, palette=b""):
    """Write a PNG byte by byte: `rows` are the packed samples of each line."""
    zipped = gzip.zlib.compress(b"".join(b"\0" + row for row in rows))
    width = len(rows[0]) * 8 // bits
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0))]
    chunks += [(b"PLTE", palette)] if palette else []
    chunks += [(b"IDAT", zipped), (b"IEND", b"")]
    content = b"".join(struct.pack(">I", len(c)) + n + c + struct.pack(">I", gzip.zlib.crc32(n + c)) for n, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ending=st.sampled_from((*DIRECTED_ENDINGS, *UNDIRECTED_ENDINGS)),
    spacing=st.tuples(*[st.floats(0.1, 9)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    seed=st.integers(0, 2**31),
    largest=st.integers(0, 65535),
)
def test_label_map_comes_back_on_its_grid(tmp_path_factory, ending, spacing, origin, seed, largest):
    tmp_path = tmp_path_factory.mktemp("maps")
    direction = turned(seed) if ending in DIRECTED_ENDINGS else plain_geometry(spacing).direction
    geometry = Geometry(spacing, origin, direction)
    array = np.random.default_rng(seed).integers(0, largest, (2, 3, 4), endpoint=True)
    write_label(tmp_path / f"a{ending}", array, geometry)
    volume = read_label(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(volume.array[0], array)
    exact = 1e-12 if ending in (".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".vtk") else 1e-6  # the others hold float32
    for found, wanted in zip(vars(volume.geometry).values(), vars(geometry).values(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=exact, atol=exact * 100)
    assert read_geometry(tmp_path / f"a{ending}") == volume.geometry
    write_label(tmp_path / f"b{ending}", array, volume.geometry)
    if ending not in (".nrrd", ".nhdr", ".mnc"):  # which hold spacing times direction
        assert read_geometry(tmp_path / f"b{ending}") == volume.geometry
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("ending", DIRECTED_ENDINGS)
def test_2d_images_stay_2d(tmp_path, ending):
    write_label(tmp_path / f"a{ending}", np.arange(12).reshape(1, 3, 4), plain_geometry((0.75, 0.5)))
    volume = read_label(tmp_path / f"a{ending}")
    assert volume.array.shape == (1, 1, 3, 4)
    assert volume.spacing == (749.25, 0.75, 0.5)
    assert volume.geometry == plain_geometry((0.75, 0.5))


@pytest.mark.parametrize("ending", UNDIRECTED_ENDINGS)
def test_turned_label_map_is_refused_where_it_would_come_back_unturned(tmp_path, ending):
    with pytest.raises(DataError, match=rf"cannot write .*a\{ending}: .*does not hold how the grid lies.*\.nii\.gz"):
        write_label(tmp_path / f"a{ending}", np.zeros((2, 3, 4), int), Geometry((1.0,) * 3, (0.0,) * 3, turned(0)))
    assert not list(tmp_path.iterdir())


def test_several_slices_do_not_fit_a_png_and_one_does(tmp_path, caplog):
    geometry = Geometry((3.0, 1.0, 1.0), (5.0, 0.0, 0.0), plain_geometry((1.0,) * 3).direction)
    with pytest.raises(DataError, match=r"a\.png: \.png holds one slice, the label map has 2"):
        write_label(tmp_path / "a.png", np.zeros((2, 3, 4), int), geometry)
    write_label(tmp_path / "a.png", np.ones((1, 3, 4), int), geometry)
    assert "does not hold where the image lies" in caplog.text
    assert read_label(tmp_path / "a.png").shape == (1, 3, 4)


def test_dicom_is_not_written(tmp_path):
    with pytest.raises(UsageError, match=r"a\.dcm: a label map is no DICOM image; write \.nii\.gz"):
        write_label(tmp_path / "a.dcm", np.zeros((1, 3, 4), int), plain_geometry((1.0,) * 3))


@pytest.mark.parametrize(
    ("image", "ending"),
    [("a.NII.gz", ".NII.gz"), ("a.jpg", ".png"), ("a.dcm", ".nii.gz"), ("a.ome.tif", ".ome.tif"), ("a.h5", ".nii.gz")],
)
def test_ending_for_label_maps(tmp_path, image, ending):
    assert label_ending(tmp_path / image) == ending
    assert label_ending(tmp_path) == ".nii.gz"


@pytest.mark.parametrize("ending", [".vtk", ".mrc", ".gipl.gz", ".mha", ".mhd", ".nhdr", ".hdr", ".img", ".mnc"])
def test_truncated_file_of_a_rare_format_is_named(tmp_path, ending):
    array = np.random.default_rng(0).integers(0, 65535, (8, 32, 32))
    path = tmp_path / f"a{ending}"
    write_label(path, array, plain_geometry((1.0,) * 3))
    voxels = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    voxels.write_bytes(voxels.read_bytes()[: voxels.stat().st_size * 6 // 10])
    with pytest.raises(DataError, match=rf"cannot read .*a\.({ending[1:]}|img): ."):
        read_image([path])


def test_what_a_kill_leaves_of_two_files_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("segfw.io.formats.writing.shutil.rmtree", lambda *_, **__: None)  # as one that is killed
    write_label(tmp_path / "a.mhd", np.zeros((2, 3, 4), int), plain_geometry((1.0,) * 3))
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 3
    remove_remains(tmp_path / "a.mhd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mhd", "a.zraw"]


def nifti_header(path, axes, pack=False):
    """Change the sizes that a NIfTI header states."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<8h", content, 40, len(axes), *axes, *[1] * (7 - len(axes)))
    path.write_bytes(gzip.compress(content) if pack else content)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_absurd_sizes_are_refused_before_memory_is_asked_for(tmp_path, ending):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32)).rename(tmp_path / f"a{ending}")
    nifti_header(path, (32000, 32000, 2000), pack=ending == ".nii.gz")
    with pytest.raises(
        DataError, match=rf"cannot read .*a\{ending}: the file is truncated, 448 of at least 8192000000352"
    ):
        read_image([path])
    path = save(tmp_path / "b.nii", np.zeros((2, 3, 4), np.float32))
    with pytest.raises(DataError, match=r"b\.nii: its header states axes of these sizes: \[4, 3, -2\]"):
        read_image([nifti_header(path, (4, 3, -2))])


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_absurd_sizes_elsewhere_are_an_error_that_names_the_file(tmp_path, name):
    sizes = "60000 60000 60000"
    if name == "a.mha":
        text = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = {sizes}\nElementType = MET_FLOAT\n"
        text += "ElementDataFile = LOCAL\n"
    else:
        text = f"NRRD0004\ntype: float\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n\n"
    (tmp_path / name).write_bytes(text.encode() + bytes(100))
    with pytest.raises(DataError, match=rf"cannot read .*{name}: ."):
        read_image([tmp_path / name])


def test_what_is_no_image_is_refused(tmp_path):
    five = save(tmp_path / "five.mha", np.zeros((2, 2, 2, 2, 2), np.float32))
    with pytest.raises(DataError, match=r"five\.mha: images have 2, 3 or 4 axes, this one has 5"):
        read_image([five])
    waves = save(tmp_path / "waves.nii", np.zeros((2, 2, 2), np.complex64))
    with pytest.raises(DataError, match=r"waves\.nii: pixels must be integers or real numbers, got complex"):
        read_image([waves])
    field = save(tmp_path / "field.nii", np.zeros((2, 3, 4, 3), np.float32), is_vector=True)
    content = bytearray(field.read_bytes())
    struct.pack_into("<h", content, 68, 1006)
    field.write_bytes(content)
    with pytest.raises(DataError, match=r"field\.nii: this is a field of displacements"):
        read_image([field])


def test_components_of_a_volume_are_channels_and_a_constant_one_is_no_alpha(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 4)).astype(np.float32)
    array[..., 3] = 1
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        path = save(tmp_path / name, array, is_vector=True)
        np.testing.assert_array_equal(read_image([path]).array, np.moveaxis(array, -1, 0))


def test_one_time_point_is_one_channel(tmp_path):
    path = save(tmp_path / "a.mha", np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4))
    assert read_image([path]).array.shape == (1, 2, 3, 4)


@pytest.mark.parametrize("read", [lambda path: read_image([path]), read_label, read_geometry])
def test_unpacked_twin_is_not_read_in_a_files_place(tmp_path, read):
    """SimpleITK gives the voxels of a.nii for a.nii.gz."""
    save(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.uint8))
    read(tmp_path / "a.nii.gz")
    save(tmp_path / "a.nii", np.ones((2, 3, 4), np.uint8))
    with pytest.raises(DataError, match=r"a\.nii\.gz: a\.nii lies beside it and would be read in its place"):
        read(tmp_path / "a.nii.gz")
    read(tmp_path / "a.nii")


@pytest.mark.parametrize("content", [b"", b"x", bytes(400), b"\x1f\x8b", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0"])
def test_remains_of_a_file_are_named(tmp_path, content):
    for ending in (*VOLUME_ENDINGS, *NATURAL_ENDINGS):
        path = tmp_path / f"a{ending}"
        path.write_bytes(content)
        for read in (lambda path: read_image([path]), read_label, read_geometry):
            with pytest.raises(DataError, match=rf"cannot read .*a\{ending}: ."):
                read(path)
        path.unlink()


def test_format_without_a_known_name_is_asked_of_itk(tmp_path):
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((0.5, 0.75, 3.0))
    sitk.WriteImage(image, str(tmp_path / "a.h5"))
    volume = read_image([tmp_path / "a.h5"])
    assert volume.spacing == (3.0, 0.75, 0.5)
    assert read_geometry(tmp_path / "a.h5") == volume.geometry
    assert image_files(tmp_path) == {}
    (tmp_path / "a.doc").write_bytes(b"words" * 99)
    with pytest.raises(DataError, match=r"a\.doc is of no known image format; known endings: \.nii\.gz"):
        read_image([tmp_path / "a.doc"])


def test_header_stands_for_the_pair_in_listings(tmp_path):
    write_label(tmp_path / "a.hdr", np.zeros((2, 3, 4), int), plain_geometry((1.0,) * 3))
    assert image_files(tmp_path) == {"a": tmp_path / "a.hdr"}
    (tmp_path / "a.img").unlink()
    with pytest.raises(DataError, match=r"cannot read .*a\.hdr: of a\.hdr and a\.img, one is missing"):
        read_image([tmp_path / "a.hdr"])


def test_palette_and_bits_of_a_png_label_map_are_its_values(tmp_path):
    palette = bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 9, 9])
    colors = png(tmp_path / "p.png", 8, 3, [bytes([0, 1, 2]), bytes([3, 1, 0])], palette)
    assert read_label(colors).array[0, 0].tolist() == [[0, 1, 2], [3, 1, 0]]
    assert read_image([colors]).array[:, 0, 0, 1].tolist() == [255, 0, 0]
    bits = png(tmp_path / "b.png", 1, 0, [b"\xa0", b"\x01"])
    assert read_label(bits).array[0, 0].tolist() == [[1, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
    nibbles = png(tmp_path / "n.png", 4, 0, [b"\x0f\x12"])
    assert read_label(nibbles).array[0, 0].tolist() == [[0, 15, 1, 2]]
    deep = png(tmp_path / "d.png", 16, 0, [b"\x00\x01\xff\xff"])
    assert read_label(deep).array[0, 0].tolist() == [[1, 65535]]


def test_two_indices_of_one_color_are_refused_only_where_used(tmp_path):
    palette = bytes([0, 0, 0, 7, 7, 7, 7, 7, 7])
    assert read_label(png(tmp_path / "a.png", 8, 3, [bytes([0, 0])], palette)).array.tolist() == [[[[0, 0]]]]
    with pytest.raises(DataError, match=r"b\.png: indices \[1, 2\] of its palette have one color"):
        read_label(png(tmp_path / "b.png", 8, 3, [bytes([0, 1])], palette))


def test_bitmap_with_a_colored_palette_keeps_its_colors(tmp_path):
    palette = bytes([0, 0, 0, 0]) + bytes([255, 0, 0, 0]) * 255  # blue first
    head = struct.pack("<2sIHHI", b"BM", 54 + 1024 + 8, 0, 0, 54 + 1024)
    head += struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 0, 8, 0, 0, 256, 0)
    (tmp_path / "a.bmp").write_bytes(head + palette + bytes([0, 1, 1, 0, 0, 0, 0, 0]))
    volume = read_image([tmp_path / "a.bmp"])
    assert volume.array.shape == (3, 1, 2, 4)
    assert volume.array[:, 0, 1, 1].tolist() == [0.0, 0.0, 255.0]


@pytest.mark.parametrize(("alpha", "constant"), [(0, True), (77, True), (None, False)])
def test_constant_alpha_is_dropped(tmp_path, alpha, constant):
    array = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    if alpha is not None:
        array[..., 3] = alpha
    path = save(tmp_path / "a.png", array, is_vector=True)
    assert len(read_image([path]).array) == (3 if constant else 4)
    assert len(volume_from_image(sitk.ReadImage(str(path))).array) == (3 if constant else 4)


def test_grey_and_colored_jpeg(tmp_path):
    grey = save(tmp_path / "g.jpg", np.full((8, 8), 100, np.uint8))
    assert read_image([grey]).array.shape == (1, 1, 8, 8)
    colors = save(tmp_path / "c.jpeg", np.full((8, 8, 3), 100, np.uint8), is_vector=True)
    assert read_image([colors]).array.shape == (3, 1, 8, 8)
    assert read_image([colors]).spacing == (999.0, 1.0, 1.0)


def test_labels_are_renumbered_all_at_once(tmp_path):
    path = save(tmp_path / "a.mha", np.array([[[0, 1, 2, 5]]], np.uint8))
    assert read_label(path, {1: 2, 2: 1}).array.ravel().tolist() == [0, 2, 1, 5]
    assert read_label(path, {1: 2, 2: 3, 5: 70000, 9: 1}).array.ravel().tolist() == [0, 2, 3, 70000]
    assert read_label(path, {}).array.dtype == np.int16
    large = save(tmp_path / "b.mha", np.array([[[0, 3e9]]], np.float64))
    with pytest.raises(
        DataError, match=r"b\.mha: label values must lie in -2147483648 to 2147483647, got 0\.0 to 3000000000"
    ):
        read_label(large)
