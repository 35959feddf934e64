"""Reading and writing images: axis order, spacing rules, geometry given back exactly, and errors that name the file."""

import locale
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segfw.core.errors import DataError, UsageError
from segfw.core.types import Geometry
from segfw.io.formats.images import reason
from segfw.io.formats.readers import NATURAL_ENDINGS, ending_of, read_geometry, read_image, read_label, write_label

REAL_DATA = Path(os.environ.get("SEGFW_TEST_DATA", "absent"))


def save(path, array, spacing=None, origin=None, direction=None, is_vector=False):
    """Write `array` (slowest axis first) with ITK's own numbers."""
    image = sitk.GetImageFromArray(np.asarray(array), isVector=is_vector)
    if spacing:
        image.SetSpacing(spacing)
    if origin:
        image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(np.asarray(direction, float).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def itk_geometry(path):
    image = sitk.ReadImage(str(path))
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def rotation(seed, flip=False):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    if (np.linalg.det(matrix) < 0) != flip:
        matrix[:, 0] *= -1
    return matrix


def test_3d_axes_are_z_y_x_and_spacing_follows(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = read_image([save(tmp_path / "a.nii.gz", array, spacing=(0.5, 0.75, 3.0), origin=(1, 2, 3))])
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array[np.newaxis])
    assert volume.spacing == (3.0, 0.75, 0.5)
    assert volume.geometry == Geometry(
        (3.0, 0.75, 0.5), (1.0, 2.0, 3.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    )


def test_2d_nifti_is_one_slice_far_from_its_neighbors(tmp_path):
    volume = read_image([save(tmp_path / "a.nii.gz", np.ones((3, 4), np.float32), spacing=(0.5, 0.75))])
    assert volume.array.shape == (1, 1, 3, 4)
    assert volume.spacing == (749.25, 0.75, 0.5)
    assert volume.geometry.ndim == 2


def test_first_axis_of_4d_file_is_the_channel_axis(tmp_path):
    frames = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    image = sitk.JoinSeries([sitk.GetImageFromArray(frame) for frame in frames])
    image.SetSpacing((0.5, 0.75, 3.0, 1.0))
    image.SetOrigin((1, 2, 3, 0))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    volume = read_image([tmp_path / "a.nii.gz"])
    np.testing.assert_array_equal(volume.array, frames)
    assert volume.spacing == (3.0, 0.75, 0.5)
    assert volume.geometry.origin == (1.0, 2.0, 3.0)
    assert volume.geometry.direction == ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_grey_natural_image(tmp_path, ending):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    volume = read_image([save(tmp_path / f"a{ending}", array, spacing=(0.1, 0.1))])
    np.testing.assert_array_equal(volume.array, array[np.newaxis, np.newaxis])
    assert volume.spacing == (999.0, 1.0, 1.0)


@pytest.mark.parametrize(("alpha", "channels"), [(None, 3), (255, 3), (0, 3)])
def test_colors_are_channels_and_constant_alpha_is_none(tmp_path, alpha, channels):
    array = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    if alpha is not None:
        array = np.concatenate([array, np.full((3, 4, 1), alpha, np.uint8)], axis=-1)
    volume = read_image([save(tmp_path / "a.png", array, is_vector=True)])
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, -1, 0)[:channels, np.newaxis])


def test_channel_files_are_stacked_in_the_order_given(tmp_path):
    a = save(tmp_path / "a.nii.gz", np.full((2, 3, 4), 5, np.uint8))
    b = save(tmp_path / "b.nii.gz", np.full((2, 3, 4), 7.5, np.float32))
    assert read_image([b, a]).array[:, 0, 0, 0].tolist() == [7.5, 5.0]


def test_channel_files_must_agree_in_shape(tmp_path):
    a, b = save(tmp_path / "a.mha", np.zeros((2, 3, 4))), save(tmp_path / "b.mha", np.zeros((2, 3, 5)))
    with pytest.raises(DataError, match=r"shape.*a\.mha has \(2, 3, 4\).*b\.mha has \(2, 3, 5\)"):
        read_image([a, b])


def test_channel_files_must_agree_in_spacing(tmp_path):
    a = save(tmp_path / "a.mha", np.zeros((2, 3, 4)), spacing=(1, 1, 2))
    b = save(tmp_path / "b.mha", np.zeros((2, 3, 4)), spacing=(1, 1, 2.1))
    with pytest.raises(DataError, match=r"spacing.*a\.mha has \(2\.0, 1\.0, 1\.0\).*b\.mha has \(2\.1, 1\.0, 1\.0\)"):
        read_image([a, b])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.png"])
def test_damaged_file_is_named_and_itk_stays_silent(tmp_path, capfd, name):
    (tmp_path / name).write_bytes(b"no image at all" * 40)
    with pytest.raises(DataError, match=f"cannot read .*{name}: ."):
        read_image([tmp_path / name])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".gipl", ".png", ".bmp", ".tif", ".jpg"])
def test_truncated_file_is_named(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (16, 64, 64), np.uint8)
    path = save(tmp_path / f"a{ending}", noise[0] if ending in NATURAL_ENDINGS else noise)
    read_image([path])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(DataError, match=rf"cannot read .*a\{ending}: ."):
        read_image([path])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.nii\.gz: there is no such file"):
        read_image([tmp_path / "absent.nii.gz"])


def test_unknown_format_lists_the_known():
    with pytest.raises(DataError, match=r"case\.doc .*\.nii\.gz, .*\.png"):
        ending_of("case.doc")
    assert ending_of("x/Case.1.NII.gz") == ".NII.gz"


def test_exact_floats_are_labels(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.array([[[0.0, 2.0, 3.0]]], np.float32))
    volume = read_label(path)
    assert volume.array.dtype == np.int16
    assert volume.array.tolist() == [[[[0, 2, 3]]]]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_other_floats_are_not_rounded_to_labels(tmp_path, value):
    path = save(tmp_path / "a.mha", np.array([[[0.0, value, 3.0]]], np.float32))
    with pytest.raises(
        DataError, match=r"a\.mha: label values must be integers, 1 voxel is not, such as \[(0\.5|nan|inf)\]"
    ):
        read_label(path)


def test_large_label_values_are_kept(tmp_path):
    assert read_label(save(tmp_path / "a.nii.gz", np.array([[[0, 40000]]], np.uint16))).array.max() == 40000


def test_values_are_renumbered_all_at_once(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.array([[[0, 1, 2, 255]]], np.uint8))
    found = read_label(path, {1: 2, 2: 1, 255: 300}).array
    assert found.ravel().tolist() == [0, 2, 1, 300]
    assert found.dtype == np.int16


def test_color_label_is_refused(tmp_path):
    with pytest.raises(DataError, match="one channel, this file has 3"):
        read_label(save(tmp_path / "a.png", np.zeros((3, 4, 3), np.uint8), is_vector=True))


@pytest.mark.parametrize(("largest", "kind"), [(254, np.uint8), (255, np.uint16)])
def test_label_type_is_the_smallest_that_serves(tmp_path, largest, kind):
    geometry = Geometry((1.0,) * 3, (0.0,) * 3, ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    write_label(tmp_path / "a.nii.gz", np.array([[[0, largest]]]), geometry)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz"))).dtype == kind
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("array", [np.array([[[-1]]]), np.array([[[70000]]])])
def test_label_values_outside_uint16_are_refused(tmp_path, array):
    geometry = Geometry((1.0,) * 3, (0.0,) * 3, ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    with pytest.raises(DataError, match="0 to 65535, got"):
        write_label(tmp_path / "a.nii.gz", array, geometry)


def test_jpeg_labels_are_refused(tmp_path):
    with pytest.raises(UsageError, match="JPEG would change label values"):
        write_label(
            tmp_path / "a.jpg", np.zeros((1, 3, 4), int), Geometry((1.0, 1.0), (0.0, 0.0), ((0.0, 1.0), (1.0, 0.0)))
        )


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("seed", range(6))
def test_oblique_geometry_is_given_back_exactly(tmp_path, ending, seed):
    """The file as read is what counts: NIfTI has rounded the numbers to float32 before."""
    rng = np.random.default_rng(seed)
    source = save(
        tmp_path / f"in{ending}",
        rng.integers(0, 9, (3, 4, 5), np.int16),
        spacing=rng.uniform(0.3, 5, 3).tolist(),
        origin=rng.uniform(-300, 300, 3).tolist(),
        direction=rotation(seed, flip=seed % 2 == 1),
    )
    volume = read_label(source)
    target = tmp_path / f"out{ending}"
    write_label(target, volume.array[0], volume.geometry)
    if ending == ".nrrd":  # holds spacing times direction: the last bit may differ
        for found, wanted in zip(itk_geometry(target), itk_geometry(source), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-15)
    else:
        assert itk_geometry(target) == itk_geometry(source)
    again = read_label(target)
    np.testing.assert_array_equal(again.array, volume.array)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), angle=st.floats(-0.2, 0.2))
def test_slightly_tilted_nifti_keeps_its_geometry(tmp_path, seed, angle):
    rng = np.random.default_rng(seed)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    direction = tilt[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
    source = save(tmp_path / "in.nii", np.zeros((2, 3, 4), np.uint8), rng.uniform(0.2, 6, 3).tolist(), None, direction)
    volume = read_label(source)
    write_label(tmp_path / "out.nii", volume.array[0], volume.geometry)
    assert itk_geometry(tmp_path / "out.nii") == itk_geometry(source)


def test_2d_label_round_trip(tmp_path):
    for ending in (".nii.gz", ".png", ".bmp", ".tif"):
        source = save(tmp_path / f"in{ending}", np.eye(3, 4, dtype=np.uint8))
        volume = read_label(source)
        write_label(tmp_path / f"out{ending}", volume.array[0], volume.geometry)
        assert itk_geometry(tmp_path / f"out{ending}") == itk_geometry(source)
        np.testing.assert_array_equal(read_label(tmp_path / f"out{ending}").array, volume.array)


def test_4d_image_geometry_writes_3d_labels(tmp_path):
    image = sitk.JoinSeries([sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32))] * 2)
    image.SetDirection([1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    write_label(tmp_path / "b.nii.gz", np.ones((2, 3, 4), np.uint8), read_image([tmp_path / "a.nii.gz"]).geometry)
    assert itk_geometry(tmp_path / "b.nii.gz") == (
        (4, 3, 2),
        (1.0,) * 3,
        (0.0,) * 3,
        (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0),
    )


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="SEGFW_TEST_DATA names no folder")
def test_real_geometry_is_given_back(tmp_path):
    paths = [path for folder in REAL_DATA.iterdir() for path in sorted((folder / "imagesTr").glob("*"))[::40]]
    if not paths:
        pytest.skip(f"no dataset in {REAL_DATA}")
    for path in paths:
        volume = read_image([path])
        assert np.isfinite(volume.array).all()
        target = tmp_path / f"out{ending_of(path)}"
        write_label(target, np.zeros(volume.shape, np.uint8), volume.geometry)
        assert itk_geometry(target) == itk_geometry(path)


def test_reading_leaves_the_locale_alone(tmp_path):
    before = locale.setlocale(locale.LC_ALL)
    sitk.WriteImage(sitk.Image(2, 3, 4, sitk.sitkInt16), str(tmp_path / "a.vtk"))
    read_image([tmp_path / "a.vtk"])
    read_geometry(tmp_path / "a.vtk")
    assert locale.setlocale(locale.LC_ALL) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("itk::ERROR: GDCMImageIO(0x55c1d2e0): Cannot read a.dcm", "Cannot read a.dcm"),
        ("sitk::ERROR: itk::ERROR: NiftiImageIO(0xFFab12): a.nii is no NIfTI", "a.nii is no NIfTI"),
        ("GDCMImageIO (0x7f): Cannot read a.dcm", "Cannot read a.dcm"),
    ],
)
def test_addresses_of_objects_are_left_out_of_reasons(words, expected):
    assert reason(RuntimeError(f"Exception thrown in SimpleITK:\n{words}\n")) == expected
