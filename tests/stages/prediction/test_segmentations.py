"""Which files a segmentation becomes, in every format; what is written lies where the image lies."""

import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.settings.verbs import InferenceOverrides, PredictSettings
from segfw.core.types import Geometry, Volume
from segfw.inference.bundle import save_bundle
from segfw.io.formats.readers import read_image, read_label
from segfw.stages.inspection.evaluate import evaluate
from segfw.stages.prediction.predict import run
from segfw.stages.prediction.segmentations import grid_for, named_file, segmentation_files, write_segmentation
from tests.inference.tiny_model import make_bundle, make_plan
from tests.interop.dicom_series import write_series

PLAIN = Geometry((3.0, 1.0, 2.0), (4.0, 5.0, 6.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


def names(files):
    return [file.name for file in files]


def series(folder, **changes):
    write_series(folder, np.zeros((3, 9, 8)), **changes)
    return folder


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("x.nii.gz", "x.nii.gz"), ("x.nii", "x.nii"), ("x.nrrd", "x.nrrd"), ("x.mha", "x.mha"), ("x.tif", "x.tif"),
        ("x.png", "x.png"), ("x.jpg", "x.png"),
    ],
)  # fmt: skip
def test_the_format_is_the_image_s(tmp_path, image, expected):
    assert names(segmentation_files("x", [tmp_path / image], tmp_path, None)) == [expected]


@pytest.mark.parametrize("word", ["nii.gz", "nii", "nrrd", "mha", "tif", "png"])
def test_the_format_is_what_is_asked_for(tmp_path, word):
    for image in (tmp_path / "x.mha", series(tmp_path / "x")):
        assert names(segmentation_files("x", [image], tmp_path, word)) == [f"x.{word}"]


def test_dicom_gets_a_label_map_and_a_dicom_seg(tmp_path):
    image = series(tmp_path / "ann")
    assert names(segmentation_files("ann", [image], tmp_path, None)) == ["ann.nii.gz", "ann.dcm"]
    assert names(segmentation_files("ann", [image], tmp_path, "dicom_seg")) == ["ann.dcm"]
    assert names(segmentation_files("ann", [image / "IM001"], tmp_path, None)) == ["ann.nii.gz", "ann.dcm"]


def test_a_series_that_cannot_have_one_is_named_with_the_reason(tmp_path, caplog):
    image = series(tmp_path / "ann", FrameOfReferenceUID=None)
    files = segmentation_files("ann", [image], tmp_path, None)
    assert names(files) == ["ann.nii.gz"]
    assert "ann: there will be no DICOM-SEG, only ann.nii.gz" in caplog.text
    assert "states no FrameOfReferenceUID" in caplog.text
    asked = segmentation_files("ann", [image], tmp_path, "dicom_seg")
    with pytest.raises(DataError, match="states no FrameOfReferenceUID"):
        grid_for(asked, read_image([image]), [image])


def test_dicom_seg_needs_dicom(tmp_path):
    with pytest.raises(UsageError, match=r"output_format=dicom_seg: .* and .*x\.nii\.gz is none"):
        segmentation_files("x", [tmp_path / "x.nii.gz"], tmp_path, "dicom_seg")
    with pytest.raises(UsageError, match=r"output=.*s\.dcm: .* and .*x\.nii\.gz is none"):
        named_file(tmp_path / "s.dcm", tmp_path / "x.nii.gz", None)


def test_without_highdicom_dicom_needs_a_format(tmp_path, monkeypatch):
    image = series(tmp_path / "ann")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match=r'pip install "segfw\[dicom\]"'):
        segmentation_files("ann", [image], tmp_path, None)
    assert names(segmentation_files("ann", [image], tmp_path, "nii.gz")) == ["ann.nii.gz"]
    assert names(segmentation_files("x", [tmp_path / "x.nii"], tmp_path, None)) == ["x.nii"]


def test_the_ending_of_a_named_file_is_its_format(tmp_path):
    image = series(tmp_path / "ann")
    assert names(named_file(tmp_path / "s.dcm", image, None)) == ["s.dcm"]
    assert names(named_file(tmp_path / "s.dcm", image, "dicom_seg")) == ["s.dcm"]
    assert names(named_file(tmp_path / "s.nrrd", image, None)) == ["s.nrrd"]
    with pytest.raises(UsageError, match=r"output_format=nii\.gz, but output=.*s\.nrrd ends in \.nrrd"):
        named_file(tmp_path / "s.nrrd", image, "nii.gz")


def test_a_volume_is_refused_as_png_before_anything_is_computed(tmp_path):
    volume = Volume(np.zeros((1, 4, 5, 6), np.float32), PLAIN.spacing, PLAIN)
    with pytest.raises(DataError, match=r"x\.png: \.png holds one slice, the label map has 4"):
        grid_for([tmp_path / "x.png"], volume, [tmp_path / "x.nii.gz"])
    with pytest.raises(DataError, match="states no geometry"):
        grid_for([tmp_path / "x.nii"], Volume(volume.array, volume.spacing), [tmp_path / "x.nii.gz"])
    assert grid_for([tmp_path / "x.tif"], volume, [tmp_path / "x.nii.gz"]) == PLAIN


@st.composite
def geometries(draw):
    number = st.floats(-200, 200).map(lambda value: round(value, 3))
    turn = sitk.Euler3DTransform((0, 0, 0), *(draw(st.floats(-3, 3)) for _ in range(3)))
    columns = np.array(turn.GetMatrix()).reshape(3, 3).T
    spacing = tuple(draw(st.floats(0.3, 9).map(lambda value: round(value, 3))) for _ in range(3))
    return Geometry(spacing, tuple(draw(number) for _ in range(3)), tuple(map(tuple, columns[::-1].tolist())))


@settings(max_examples=20, deadline=None)
@given(geometry=geometries(), data=st.data())
def test_every_volume_format_keeps_grid_and_values_and_is_scored(tmp_path_factory, geometry, data):
    folder = tmp_path_factory.mktemp("formats")
    array = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, (3, 4, 5)).astype(np.uint8)
    array[0, 0] = 1
    bundle = make_bundle(make_plan())
    write_segmentation([folder / "references" / "x.nrrd"], array, geometry, [], bundle)
    for word in ("nii.gz", "nii", "nrrd", "mha"):
        (file,) = segmentation_files("x", [folder / "x.mha"], folder / word, word)
        write_segmentation([file], array, geometry, [folder / "x.mha"], bundle)
        written = read_label(file)
        assert np.array_equal(written.array[0], array)
        assert written.geometry.spacing == pytest.approx(geometry.spacing, rel=1e-6)
        assert written.geometry.origin == pytest.approx(geometry.origin, rel=1e-5, abs=1e-5)
        assert np.allclose(written.geometry.direction, geometry.direction, atol=1e-6)
    for word in ("nii.gz", "mha"):
        assert evaluate(folder / word, folder / "references").foreground_mean["dice"] == 1.0


@pytest.mark.parametrize(("word", "shape"), [("tif", (3, 4, 5)), ("png", (1, 4, 5)), ("tif", (1, 4, 5))])
def test_formats_without_a_place_keep_the_values_and_are_scored(tmp_path, word, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8) % 3
    (file,) = segmentation_files("x", [tmp_path / "x.nii"], tmp_path / "out", word)
    bundle = make_bundle(make_plan())
    write_segmentation([file], array, PLAIN, [tmp_path / "x.nii"], bundle)
    write_segmentation([tmp_path / "references" / "x.nii"], array, PLAIN, [], bundle)
    assert np.array_equal(read_label(file).array[0], array)
    assert evaluate(tmp_path / "out", tmp_path / "references").foreground_mean["dice"] == 1.0


def test_series_in_label_maps_and_dicom_seg_out(tmp_path, caplog):
    save_bundle(tmp_path / "m", make_bundle(make_plan()))
    images = np.random.default_rng(0).integers(-50, 50, (2, 9, 10, 11))
    for channel, array in enumerate(images):
        write_series(tmp_path / "in" / f"ann_000{channel}", array, study="1.2.826.7")
        image = sitk.GetImageFromArray(array.astype(np.int16))
        sitk.WriteImage(image, str(tmp_path / "in" / f"bob_000{channel}.mha"))
    settings = PredictSettings(
        model=str(tmp_path / "m"),
        input=str(tmp_path / "in"),
        output=str(tmp_path / "out"),
        accelerator="cpu",
        threads=1,
    )
    run(settings)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["ann.dcm", "ann.nii.gz", "bob.mha"]
    label_map, found = read_label(tmp_path / "out" / "ann.nii.gz"), pydicom.dcmread(tmp_path / "out" / "ann.dcm")
    bits = np.unpackbits(np.frombuffer(found.PixelData, np.uint8), bitorder="little")
    assert bits.sum() == (label_map.array > 0).sum() > 0
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["a", "b"]
    assert len(evaluate(tmp_path / "out", tmp_path / "out").cases) == 2
    (tmp_path / "out" / "ann.dcm").unlink()
    caplog.clear()
    run(settings)
    assert (tmp_path / "out" / "ann.dcm").exists()


def test_a_volume_among_slices_fails_alone(tmp_path):
    save_bundle(tmp_path / "m", make_bundle(make_plan()))
    for name, depth in (("deep", 4), ("flat", 1)):
        image = sitk.GetImageFromArray(np.random.default_rng(0).random((depth, 9, 8, 2), np.float32), isVector=True)
        (tmp_path / "in").mkdir(exist_ok=True)
        sitk.WriteImage(image, str(tmp_path / "in" / f"{name}.mha"))
    with pytest.raises(JobError, match=r"(?s)1 of 2 cases failed.*deep"):
        run(
            PredictSettings(
                model=str(tmp_path / "m"),
                input=str(tmp_path / "in"),
                output=str(tmp_path / "out"),
                accelerator="cpu",
                threads=1,
                inference=InferenceOverrides(output_format="png"),
            )
        )
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["flat.png"]
