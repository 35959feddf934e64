"""DICOM folders: the same voxels and grid as ITK's series reader, and a fault said with its place and size."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segfw.core.errors import DataError
from segfw.io.datasets.listing import image_files
from segfw.io.formats.dicom import is_dicom_folder
from segfw.io.formats.readers import read_geometry, read_image, read_label
from tests.io.formats.dicom_files import CONTOURS, DIRECTORY, SEGMENTATION, element, file_bytes, write_slice


def voxels(depth=4, rows=5, columns=6, seed=0):
    return np.random.default_rng(seed).integers(-50, 900, (depth, rows, columns)).astype(np.int16)


def write_series(folder, array, step=2.5, positions=None, **tags):
    """Write a slice for each of `array`, in files whose names say nothing of the order."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, plane in enumerate(array):
        z = 3 + step * i if positions is None else positions[i]
        write_slice(folder / f"IM{(i * 7) % 97:03d}", plane, position=(1, 2, z), **tags)
    return folder


def test_series_has_the_voxels_and_the_grid_that_itk_reads(tmp_path):
    array = voxels()
    folder = write_series(tmp_path / "scan", array, pixel_spacing=(0.7, 0.5), slope=2, intercept=-1000)
    volume = read_image([folder])
    np.testing.assert_array_equal(volume.array, 2.0 * array[np.newaxis] - 1000)
    assert volume.array.dtype == np.float32
    assert volume.spacing == (2.5, 0.7, 0.5)
    assert volume.geometry.origin == (1.0, 2.0, 3.0)
    assert read_geometry(folder) == volume.geometry
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    wanted = sitk.ReadImage(names)
    np.testing.assert_array_equal(volume.array[0], sitk.GetArrayFromImage(wanted))
    assert volume.geometry.spacing[::-1] == wanted.GetSpacing()
    assert np.array(volume.geometry.direction[::-1]).T.ravel().tolist() == list(wanted.GetDirection())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), step=st.floats(0.3, 9))
def test_any_orientation_is_that_of_itk(tmp_path_factory, seed, step):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    row, column = (np.round(matrix[:, i], 12) for i in range(2))
    array, folder = voxels(seed=seed), tmp_path_factory.mktemp("scan")
    for i, plane in enumerate(array):
        place = np.round(np.cross(row, column) * step * i + (10, -20, 30), 9)
        axes = [f"{v:.12f}" for v in (*row, *column)]
        write_slice(folder / f"{9 - i}", plane, [f"{v:.9f}" for v in place], axes=axes, pixel_spacing=(0.7, 0.5))
    volume = read_image([folder])
    wanted = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(volume.array[0], sitk.GetArrayFromImage(wanted))
    np.testing.assert_allclose(volume.geometry.spacing[::-1], wanted.GetSpacing(), rtol=1e-12)
    np.testing.assert_allclose(volume.geometry.origin, wanted.GetOrigin(), rtol=1e-12)
    np.testing.assert_allclose(np.array(volume.geometry.direction[::-1]).T.ravel(), wanted.GetDirection(), atol=1e-12)


def test_each_slice_keeps_its_own_scale(tmp_path):
    """As in PET. ITK's series reader takes the first slice's type for all: 0.5 times 3 would be 1."""
    for i, slope in enumerate((1, 0.5)):
        write_slice(tmp_path / f"{i}", np.full((4, 4), 3, np.int16), position=(0, 0, i), slope=slope)
    assert read_image([tmp_path]).array[0, :, 0, 0].tolist() == [3.0, 1.5]


def test_other_files_do_not_disturb(tmp_path):
    folder = write_series(tmp_path / "scan", voxels())
    (folder / "readme.txt").write_text("about the scan")
    (folder / ".hidden").write_bytes((folder / "IM000").read_bytes())
    (folder / "notes.nii.gz").write_bytes(b"no")
    (folder / "DICOMDIR").write_bytes(file_bytes(DIRECTORY, []))
    (folder / "contours.dcm").write_bytes(file_bytes(CONTOURS, [element("00080060", "CS", "RTSTRUCT")]))
    (folder / "organs.dcm").write_bytes(file_bytes(SEGMENTATION, []))
    (folder / "more").mkdir()
    assert is_dicom_folder(folder)
    assert read_image([folder]).shape == (4, 5, 6)
    for name in [path.name for path in folder.iterdir() if path.name.startswith("IM")]:
        (folder / name).unlink()
    assert not is_dicom_folder(folder)
    assert not is_dicom_folder(tmp_path)
    assert not is_dicom_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="scan: this folder holds no DICOM series"):
        read_image([folder])


@pytest.mark.parametrize("read", [lambda path: read_image([path]), read_geometry])
def test_a_folder_above_its_series_is_refused_with_the_folder_to_name(tmp_path, read):
    folder = write_series(tmp_path / "patient" / "study" / "1", voxels(2))
    message = rf"cannot read {tmp_path}/patient: this folder holds no DICOM series itself, name {folder}, which does"
    with pytest.raises(DataError, match=rf"{message}$"):
        read(tmp_path / "patient")
    write_series(tmp_path / "patient" / "study" / "2", voxels(2))
    with pytest.raises(DataError, match=rf"{message} \(and 1 more\)$"):
        read(tmp_path / "patient")


def test_several_series_are_listed(tmp_path):
    write_series(tmp_path / "scan", voxels(3), series="1.2.826.100000001", description="thin")
    for i in range(2):
        write_slice(tmp_path / "scan" / f"x{i}", voxels(1)[0], (0, 0, i), "1.2.826.100000002", "scout")
    listed = r"2 DICOM series.*thin \(CT\), 3 files such as IM000, UID \.\.\.00000001; scout \(CT\), 2 files.*00000002"
    with pytest.raises(DataError, match=listed):
        read_image([tmp_path / "scan"])


def test_missing_slices_are_counted_and_placed(tmp_path):
    folder = write_series(tmp_path / "scan", voxels(5), positions=[0, 2, 4, 10, 12])
    with pytest.raises(DataError, match=r"6 mm between IM014 at \(1\.0, 2\.0, 4\.0\) and IM021 .*2 mm else.* 2 slices"):
        read_geometry(folder)


def test_uneven_steps_are_refused_and_rounded_positions_are_not(tmp_path):
    folder = write_series(tmp_path / "a", voxels(5), positions=[0, 2, 4, 6.5, 8.5])
    with pytest.raises(DataError, match=r"not evenly spaced: 2\.5 mm between IM014 .* 2 mm elsewhere$"):
        read_image([folder])
    rounded = write_series(tmp_path / "b", voxels(5), positions=[0, 0.63, 1.25, 1.88, 2.5])
    assert read_image([rounded]).spacing == (0.625, 1.0, 1.0)


def test_two_slices_at_one_place_are_refused(tmp_path):
    folder = write_series(tmp_path / "scan", voxels(4), positions=[0, 2, 2, 4])
    with pytest.raises(DataError, match=r"same position \(1\.0, 2\.0, 2\.0\): IM007 and IM014; separate time points"):
        read_image([folder])


def test_leaning_stack_is_refused(tmp_path):
    for i, plane in enumerate(voxels(4)):
        write_slice(tmp_path / f"{i}", plane, (0, 0.4 * i, 2 * i))
    with pytest.raises(DataError, match=r"stack of slices leans, by 1\.2 mm"):
        read_image([tmp_path])


@pytest.mark.parametrize(
    ("tags", "rows", "said"),
    [
        ({}, 4, r"agree in size: 0 has \(6, 5\) pixels of 1 values, 1 has \(6, 4\)"),
        ({"axes": (0, 1, 0, 1, 0, 0)}, 5, "agree in orientation: 0 has"),
        ({"pixel_spacing": (1, 2)}, 5, r"agree in pixel spacing \(x, y\): 0 has \(1\.0, 1\.0\), 1 has \(2\.0, 1\.0\)"),
        ({"position": None}, 5, r"1: one of 2 files.*0020,0032.*no position"),
    ],
)
def test_slices_must_agree(tmp_path, tags, rows, said):
    write_slice(tmp_path / "0", voxels()[0])
    write_slice(tmp_path / "1", voxels(rows=rows)[0], **{"position": (0, 0, 1), **tags})
    with pytest.raises(DataError, match=said):
        read_image([tmp_path])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_slice_is_named(tmp_path, share):
    folder = write_series(tmp_path / "scan", voxels(rows=64, columns=64))
    content = (folder / "IM007").read_bytes()
    (folder / "IM007").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"cannot read .*scan/IM007: ."):
        read_image([folder])


def test_one_file_of_several_frames_is_a_volume(tmp_path):
    array = voxels()
    path = write_slice(tmp_path / "a.dcm", array, thickness=2)
    np.testing.assert_array_equal(read_image([path]).array, array[np.newaxis])
    np.testing.assert_array_equal(read_image([tmp_path]).array, array[np.newaxis])
    assert read_label(path).array.dtype == np.int16


@pytest.mark.parametrize("thickness", [None, 4.0])
def test_single_slice_is_a_2d_image(tmp_path, thickness):
    path = write_slice(tmp_path / "a.dcm", voxels()[0], thickness=thickness, pixel_spacing=(0.2, 0.1))
    file, series = read_image([path]), read_image([tmp_path])
    assert series.spacing == file.spacing == (999.0 * 0.2, 0.2, 0.1)
    assert series.geometry == file.geometry == read_geometry(path) == read_geometry(tmp_path)


def test_colors_are_channels(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for i in range(2):
        write_slice(tmp_path / f"{i}", array + i, position=(0, 0, i), intercept=None, slope=None)
    volume = read_image([tmp_path])
    np.testing.assert_array_equal(volume.array, np.moveaxis(np.stack([array, array + 1]), -1, 0))


def test_folders_of_series_are_listed_beside_files(tmp_path):
    write_series(tmp_path / "b", voxels())
    write_series(tmp_path / ".c", voxels())
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.nii.gz").write_bytes(b"")
    assert image_files(tmp_path) == {"a": tmp_path / "a.nii.gz", "b": tmp_path / "b"}
    (tmp_path / "b.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds b twice: b and b\.nii\.gz"):
        image_files(tmp_path)


def test_file_without_ending_is_read_for_what_it_is(tmp_path):
    path = write_slice(tmp_path / "IM1", voxels()[0])
    np.testing.assert_array_equal(read_image([path]).array[0, 0], voxels()[0])
