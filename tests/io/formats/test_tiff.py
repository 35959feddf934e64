"""TIFF volumes: what is a slice, what is a channel, and where the spacing comes from."""

import json
import logging

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segfw.core.errors import DataError
from segfw.io.formats import tiff_spacing
from segfw.io.formats.images import plain_geometry
from segfw.io.formats.readers import read_geometry, read_image, read_label, write_label

PAGES = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)


def write(path, array, **options):
    tifffile.imwrite(path, array, photometric=options.pop("photometric", "minisblack"), **options)
    return path


def test_three_grey_pages_are_slices_and_no_colors(tmp_path):
    volume = read_image([write(tmp_path / "a.tif", PAGES)])
    np.testing.assert_array_equal(volume.array, PAGES[np.newaxis])
    assert volume.spacing == (1.0, 1.0, 1.0)
    assert volume.geometry == plain_geometry((1.0, 1.0, 1.0)) == read_geometry(tmp_path / "a.tif")


def test_missing_spacing_is_said_once_per_folder(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(tiff_spacing, "_warned", set())
    for name in ("a.tif", "b.tif"):
        write(tmp_path / name, PAGES)
    with caplog.at_level(logging.WARNING):
        read_image([tmp_path / "a.tif"])
        read_image([tmp_path / "b.tif"])
        read_image([tmp_path / "a.tif"])
    assert len(caplog.records) == 1
    assert "a.tif: no spacing is stated, 1 mm is taken" in caplog.text
    assert 'state it in a.json, as {"spacing": [Z, Y, X]}' in caplog.text


@pytest.mark.parametrize(
    ("image", "beside"), [("c_0000.tif", "c.json"), ("c_0000.tif", "c_0000.json"), ("c.tiff", "c.json")]
)
def test_file_beside_states_the_spacing(tmp_path, image, beside):
    write(tmp_path / image, PAGES, imagej=True, metadata={"axes": "ZYX", "spacing": 9, "unit": "mm"}, resolution=(1, 1))
    (tmp_path / beside).write_text('{"spacing": [3, 0.7, 0.5]}')
    assert read_image([tmp_path / image]).spacing == (3.0, 0.7, 0.5)


@pytest.mark.parametrize("spacing", ["[1, 2]", "[1, 2, 0]", '["1", 1, 1]', "3", "[1, 2, NaN]"])
def test_wrong_spacing_beside_is_named(tmp_path, spacing):
    write(tmp_path / "a.tif", PAGES)
    (tmp_path / "a.json").write_text(f'{{"spacing": {spacing}}}')
    with pytest.raises(DataError, match=r"a\.json: spacing must be three positive numbers \(Z, Y, X\).* got"):
        read_image([tmp_path / "a.tif"])


def test_file_beside_that_is_no_json_is_named_and_one_without_spacing_is_none_of_ours(tmp_path):
    write(tmp_path / "a.tif", PAGES)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json: .*a\.tif, but is no JSON"):
        read_image([tmp_path / "a.tif"])
    (tmp_path / "a.json").write_text('{"scanner": "x"}')
    assert read_image([tmp_path / "a.tif"]).spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("unit", "factor"), [(None, 1e-3), ("nm", 1e-6), ("mm", 1.0), ("\u03bcm", 1e-3)])
def test_ome_states_spacing_and_channels(tmp_path, unit, factor):
    array = np.stack([PAGES, PAGES + 100], axis=1)
    stated = {"axes": "ZCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.7, "PhysicalSizeZ": 3.0}
    if unit:
        stated |= {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}
    volume = read_image([write(tmp_path / "a.ome.tif", array, metadata=stated)])
    np.testing.assert_array_equal(volume.array, array.transpose(1, 0, 2, 3))
    assert volume.spacing == pytest.approx((3 * factor, 0.7 * factor, 0.5 * factor))


def test_half_stated_ome_spacing_is_none(tmp_path):
    path = write(tmp_path / "a.ome.tif", PAGES, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
    assert read_image([path]).spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("unit", "spacing"),
    [("um", (0.003, 0.00025, 0.0005)), ("micron", (0.003, 0.00025, 0.0005)), ("pixel", (1.0, 1.0, 1.0))],
)
def test_imagej_states_spacing_in_pixels_per_unit(tmp_path, unit, spacing):
    stated = {"axes": "ZYX", "spacing": 3.0, "unit": unit}
    path = write(tmp_path / "a.tif", PAGES, imagej=True, metadata=stated, resolution=(2, 4))  # x, y
    assert read_image([path]).spacing == pytest.approx(spacing)


def test_imagej_channels_are_channels(tmp_path):
    path = write(tmp_path / "a.tif", PAGES, imagej=True, metadata={"axes": "CYX"})
    volume = read_image([path])
    np.testing.assert_array_equal(volume.array, PAGES[:, np.newaxis])
    assert volume.spacing == (999.0, 1.0, 1.0)


def test_time_points_and_unnamed_pairs_of_axes_are_refused(tmp_path):
    frames = write(tmp_path / "t.tif", PAGES, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(DataError, match=r"t\.tif: states 3 time points .*frames to slices"):
        read_image([frames])
    with pytest.raises(DataError, match=r"q\.tif: pages of shape \(2, 3, 4, 5\) .*not stated which are slices"):
        read_image([write(tmp_path / "q.tif", np.stack([PAGES, PAGES]))])


def test_images_of_two_sizes_in_one_file_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(PAGES, photometric="minisblack")
        writer.write(PAGES[:, :2], photometric="minisblack")
    with pytest.raises(DataError, match=r"a\.tif: holds 2 images, .*\(3, 4, 5\).*\(3, 2, 5\)"):
        read_image([tmp_path / "a.tif"])


@pytest.mark.parametrize(("kind", "alpha"), [(np.uint8, 0), (np.uint8, 200), (np.float32, 0.5), (np.float32, None)])
def test_constant_alpha_of_any_type_is_dropped(tmp_path, kind, alpha):
    array = np.arange(80).reshape(4, 5, 4).astype(kind)
    if alpha is not None:
        array[..., 3] = alpha
    path = write(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    channels = 4 if alpha is None else 3
    volume = read_image([path])
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, -1, 0)[:channels, np.newaxis])
    assert volume.spacing == (999.0, 1.0, 1.0)


def test_planar_colors_and_big_endian_and_bits(tmp_path):
    colors = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    planar = write(tmp_path / "p.tif", colors, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image([planar]).array, colors[:, np.newaxis])
    big = write(tmp_path / "b.tif", PAGES[0], byteorder=">")
    np.testing.assert_array_equal(read_label(big).array[0, 0], PAGES[0])
    bits = write(tmp_path / "m.tif", PAGES[0] % 3 == 0)
    assert read_label(bits).array[0, 0].tolist() == (PAGES[0] % 3 == 0).astype(int).tolist()


def test_palette_is_colors_of_an_image_and_values_of_a_label_map(tmp_path):
    index = np.array([[0, 1, 2]], np.uint8)
    colors = np.zeros((3, 256), np.uint16)
    colors[:, 1], colors[:, 2] = (65535, 0, 0), (0, 0, 65535)
    path = write(tmp_path / "a.tif", index, photometric="palette", colormap=colors)
    assert read_label(path).array.tolist() == [[[[0, 1, 2]]]]
    assert read_image([path]).array[:, 0, 0].tolist() == [[0, 255, 0], [0, 0, 0], [0, 0, 255]]


def test_lzw_is_read_by_itk(tmp_path):
    image = sitk.GetImageFromArray(PAGES)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.tif"))
    writer.SetUseCompression(True)
    writer.SetCompressor("LZW")
    writer.Execute(image)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.compression == tifffile.COMPRESSION.LZW
    np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array, PAGES[np.newaxis])


@pytest.mark.parametrize("options", [{}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"compression": "zlib"}])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_truncated_stack_is_named(tmp_path, options, share):
    noise = np.random.default_rng(0).integers(0, 60000, (5, 30, 40), np.uint16)
    path = write(tmp_path / "a.tif", noise, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"cannot read .*a\.tif: ."):
        read_image([path])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_an_error_or_an_image(tmp_path, changes):
    path = write(tmp_path / "a.tif", PAGES, compression="zlib")
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        assert read_image([path]).array.size
    except DataError as error:
        assert "a.tif" in str(error)  # noqa: PT017 - either outcome is right


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ending=st.sampled_from([".tif", ".tiff", ".ome.tif", ".ome.tiff"]),
    spacing=st.tuples(*[st.floats(1e-4, 1e3)] * 3),
    depth=st.integers(1, 4),
    largest=st.integers(0, 65535),
)
def test_label_volume_comes_back_with_its_spacing(tmp_path, ending, spacing, depth, largest):
    array = np.minimum(np.arange(depth * 12).reshape(depth, 3, 4) * 6000, largest)
    path = tmp_path / f"case_0001{ending}"
    for old in tmp_path.iterdir():
        old.unlink()
    write_label(path, array, plain_geometry(spacing))
    volume = read_label(path)
    np.testing.assert_array_equal(volume.array[0], array)
    assert volume.geometry == plain_geometry(spacing) == read_geometry(path)
    assert volume.spacing == spacing


def test_older_spacing_beside_does_not_outlive_a_new_file(tmp_path):
    (tmp_path / "a.json").write_text('{"spacing": [9, 9, 9]}')
    write_label(tmp_path / "a.ome.tif", PAGES, plain_geometry((3.0, 0.7, 0.5)))
    assert read_label(tmp_path / "a.ome.tif").spacing == (3.0, 0.7, 0.5)


def test_label_volume_is_written_as_nnunet_does(tmp_path):
    write_label(tmp_path / "a.tif", PAGES, plain_geometry((3.0, 0.7, 0.5)))
    assert json.loads((tmp_path / "a.json").read_text()) == {"spacing": [3.0, 0.7, 0.5]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.tif"]
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.tif"))).tolist() == PAGES.tolist()
