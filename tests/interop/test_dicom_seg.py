"""DICOM-SEG read back by others: by hand frame for frame, by dcmqi, and looked through by dciodvfy."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.inference.bundle import Bundle
from segfw.interop.dicom_seg import Segmenter, check_source, segment_names, segmenter_of, write_dicom_seg
from segfw.io.formats.readers import read_image
from segfw.io.formats.writing import write_label
from tests.inference.tiny_model import make_bundle, make_plan
from tests.interop.dicom_series import OBLIQUE, write_series

SHAPE = (6, 9, 11)
TWO = LabelSet({"background": 0, "liver": 1, "tumor": 2})
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SERIES = {
    "axial CT": {},
    "numbered backwards": {"backwards": True},
    "oblique MR": {"axes": OBLIQUE, "modality": "MR"},
    "coronal MR": {"axes": CORONAL, "modality": "MR", "spacing": (3.0, 1.25, 1.25)},
}


def segmenter(labels=TWO):
    return Segmenter("Task04", "2026-11-23", "0123abcd", labels)


def two_boxes():
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2:5, 3:7] = 1
    array[3:5, 5:8, 1:4] = 2
    return array


def write(folder, array=None, labels=TWO, **changes):
    """Make a series and a DICOM-SEG and a NIfTI of `array` on it; return the file and the slices' UIDs."""
    array = two_boxes() if array is None else array
    uids = write_series(folder / "series", np.arange(array.size).reshape(array.shape) % 1000, **changes)
    volume = read_image([folder / "series"])
    assert volume.array.ravel().tolist() == (np.arange(array.size) % 1000).tolist()  # z of the array is z of the UIDs
    file = folder / "seg.dcm"
    write_dicom_seg(file, array, volume.geometry, [folder / "series"], segmenter(labels))
    write_label(folder / "map.nii.gz", array, volume.geometry)
    return file, uids


def frames(file):
    """List (segment, UID of the slice, position, bits) of the frames; the bits are unpacked here, not by a library."""
    data = pydicom.dcmread(file)
    count, shape = int(data.NumberOfFrames), (int(data.Rows), int(data.Columns))
    bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")[: count * shape[0] * shape[1]]
    assert not np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")[len(bits) :].any()
    assert (data.SegmentationType, data.BitsAllocated, data.LossyImageCompression) == ("BINARY", 1, "00")
    shared = data.SharedFunctionalGroupsSequence[0]
    for group, frame in zip(data.PerFrameFunctionalGroupsSequence, bits.reshape(count, *shape), strict=True):
        owner = group if "SegmentIdentificationSequence" in group else shared
        segment = owner.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        yield segment, str(source), tuple(map(float, group.PlanePositionSequence[0].ImagePositionPatient)), frame


def read_by_hand(file, uids, nifti):
    """Put the frames together by their slices' UIDs; their positions must be those of the NIfTI's slices."""
    image = sitk.ReadImage(str(nifti))
    array = np.zeros(image.GetSize()[::-1], int)
    for segment, uid, position, frame in frames(file):
        z = uids.index(uid)
        assert position == pytest.approx(image.TransformIndexToPhysicalPoint((0, 0, z)), abs=1e-4)
        assert not array[z][frame == 1].any()
        array[z][frame == 1] = segment
    return array


@pytest.mark.parametrize("kind", SERIES)
def test_every_frame_lies_on_its_slice(tmp_path, kind):
    file, uids = write(tmp_path, **SERIES[kind])
    assert np.array_equal(read_by_hand(file, uids, tmp_path / "map.nii.gz"), two_boxes())
    assert len(list(frames(file))) == 3 + 2  # slices 1 to 3 of the one, 3 and 4 of the other; no empty frame
    data = pydicom.dcmread(file)
    image = sitk.ReadImage(str(tmp_path / "map.nii.gz"))
    shared = data.SharedFunctionalGroupsSequence[0]
    along = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    assert along == pytest.approx(direction.T[:2], abs=1e-6)
    measures = shared.PixelMeasuresSequence[0]
    steps = (*map(float, measures.PixelSpacing[::-1]), float(measures.SpacingBetweenSlices))
    assert steps == pytest.approx(image.GetSpacing(), abs=1e-5)
    referenced = data.ReferencedSeriesSequence[0]
    source = pydicom.dcmread(tmp_path / "series" / "IM000")
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID != data.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == set(uids)
    assert data.FrameOfReferenceUID == source.FrameOfReferenceUID


MAPS = arrays(  # frames of 8 pixels at least: highdicom packs smaller ones wrongly
    np.uint8, st.tuples(st.integers(1, 5), st.integers(3, 5), st.integers(3, 7)), elements=st.integers(0, 2)
)


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(array=MAPS)
def test_any_map_comes_back(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("any")
    file, uids = write(folder, array)
    assert np.array_equal(read_by_hand(file, uids, folder / "map.nii.gz"), array)


@pytest.mark.parametrize("kind", SERIES)
def test_dcmqi_reads_the_same(tmp_path, kind):
    program = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent)) or shutil.which(
        "segimage2itkimage"
    )
    if program is None:
        pytest.skip("dcmqi is not installed here (pip install dcmqi): nobody else has read the DICOM-SEG")
    file, _ = write(tmp_path, **SERIES[kind])
    (tmp_path / "theirs").mkdir()
    call = [program, "--inputDICOM", str(file), "--outputDirectory", str(tmp_path / "theirs"), "-t", "nii"]
    subprocess.run(call, check=True, capture_output=True, timeout=120)
    ours = sitk.ReadImage(str(tmp_path / "map.nii.gz"))
    for value in (1, 2):
        theirs = sitk.ReadImage(str(tmp_path / "theirs" / f"{value}.nii.gz"))
        on_our_grid = sitk.Resample(theirs, ours, sitk.Transform(), sitk.sitkNearestNeighbor)
        assert np.array_equal(sitk.GetArrayFromImage(on_our_grid) == value, two_boxes() == value)


def faults(file):
    found = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, timeout=60)
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("kind", [*SERIES, "empty", "sparse header", "one slice"])
def test_dciodvfy_finds_no_error(tmp_path, kind):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed here (apt-get install dicom3tools): no DICOM-SEG was looked through")
    sparse = dict.fromkeys(("PatientName", "PatientSex", "StudyTime", "AccessionNumber", "StudyID", "PatientBirthDate"))
    changes = {**SERIES, "sparse header": {**sparse, "SliceThickness": ""}}.get(kind, {})
    array = {"empty": np.zeros(SHAPE, np.uint8), "one slice": two_boxes()[3:4]}.get(kind)
    file, _ = write(tmp_path, array, **changes)
    assert faults(file) == []
    data = pydicom.dcmread(file)
    del data.SegmentSequence[0].SegmentNumber
    data.save_as(tmp_path / "broken.dcm")
    assert any("SegmentNumber" in line for line in faults(tmp_path / "broken.dcm"))


def test_nothing_found_is_one_empty_frame(tmp_path):
    file, uids = write(tmp_path, np.zeros(SHAPE, np.uint8))
    found = list(frames(file))
    assert [(uid, int(frame.sum())) for _, uid, _, frame in found] == [(uids[0], 0)] * len(found)
    data = pydicom.dcmread(file)
    assert [segment.SegmentLabel for segment in data.SegmentSequence] == ["liver", "tumor"]
    assert len(data.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[0]


def test_segments_are_the_labels_in_words(tmp_path):
    long = "a" * 70
    labels = LabelSet({"background": 0, "Größe": 1, "left\\right": 2, long: 3})
    data = pydicom.dcmread(write(tmp_path, labels=labels)[0])
    assert [segment.SegmentNumber for segment in data.SegmentSequence] == [1, 2, 3]
    assert [segment.SegmentLabel for segment in data.SegmentSequence] == ["Größe", "left/right", f"{'a' * 61}..."]
    assert data.SegmentSequence[2].SegmentDescription == f"{long} (value 3 in the label map)"
    algorithm = data.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Task04", "2026-11-23")
    assert (data.Manufacturer, data.DeviceSerialNumber) == ("segfw", "0123abcd")


def test_a_region_model_has_a_segment_for_each_value_it_paints(tmp_path):
    labels = LabelSet({"background": 0, "whole": (1, 2, 3), "core": (2, 3), "edge": (3,)}, (1, 2, 3))
    assert segment_names(labels) == {1: "whole", 2: "whole + core", 3: "whole + core + edge"}
    painted = LabelSet({"background": 0, "whole": (1, 2, 3), "core": (2, 3)}, (1, 3))
    assert segment_names(painted) == {1: "whole", 3: "whole + core"}
    array = np.where(two_boxes() == 2, 3, two_boxes())
    file, uids = write(tmp_path, array, painted)
    assert np.array_equal(read_by_hand(file, uids, tmp_path / "map.nii.gz"), two_boxes())  # 3 is the second segment
    description = pydicom.dcmread(file).SegmentSequence[1].SegmentDescription
    assert description == "whole + core (value 3 in the label map)"


def test_more_labels_than_a_byte_holds(tmp_path):
    labels = LabelSet({"background": 0, **{f"l{value}": value for value in range(1, 301)}})
    array = np.zeros((2, 20, 20), np.uint16)
    array.ravel()[:300] = np.arange(1, 301)
    file, uids = write(tmp_path, array, labels)
    assert np.array_equal(read_by_hand(file, uids, tmp_path / "map.nii.gz"), array)


@pytest.mark.parametrize("name", ["Müller^Jürgen", "Yamada^Tarou=山田^太郎=やまだ^たろう"])
def test_patient_and_study_are_the_source_s_and_nothing_else_is(tmp_path, name):
    charset = "ISO_IR 100" if "=" not in name else ["", "ISO 2022 IR 87"]
    secrets = {"InstitutionName": "Saint Elsewhere", "StationName": "CTROOM5", "OperatorsName": "Poe^E"}
    secrets |= {"ProtocolName": "ThoraxProtocol", "DeviceSerialNumber": "SN4711", "PatientComments": "VeryPrivate"}
    file, _ = write(tmp_path, PatientName=name, SpecificCharacterSet=charset, **secrets)
    data = pydicom.dcmread(file)
    assert str(data.PatientName) == name
    assert (data.PatientID, data.PatientBirthDate, data.PatientSex) == ("P7", "19700101", "F")
    assert (data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID) == ("20240102", "101112", "A9", "S3")
    assert data.StudyInstanceUID == pydicom.dcmread(tmp_path / "series" / "IM000").StudyInstanceUID
    content = file.read_bytes()
    told = [text for key, text in secrets.items() if key != "PatientComments" and text.encode() in content]
    assert told == []
    for place in (str(tmp_path), socket.gethostname(), str(Path.home())):
        assert len(place) < 5 or place.encode() not in content


def test_what_may_be_unknown_is_empty_and_what_dicom_forbids_is_left_out(tmp_path, caplog):
    with pydicom.config.disable_value_validation():
        file, _ = write(tmp_path, PatientID=None, PatientSex="W", PatientBirthDate="1970.1.1", StudyDate=None)
    data = pydicom.dcmread(file)
    assert (data.PatientID, data.PatientSex, data.PatientBirthDate, data.StudyDate) == ("", "", "", "")
    assert data.PatientName == "Doe^Jane"


def test_the_step_between_slices_is_the_measured_one(tmp_path):
    file, _ = write(tmp_path, SpacingBetweenSlices="0.5", SliceThickness="1.5")
    measures = pydicom.dcmread(file).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SpacingBetweenSlices, measures.SliceThickness) == (2.5, 1.5)


def test_further_channels_of_the_study_are_referred_to(tmp_path):
    study, frame = "1.2.826.7", "1.2.826.8"
    array = two_boxes()
    uids = {}
    for name, own in (("a", study), ("b", study), ("c", "1.2.826.9")):
        uids[name] = write_series(tmp_path / name, array, study=own, frame_of_reference=frame)
    write_label(tmp_path / "d.nii.gz", array, read_image([tmp_path / "a"]).geometry)
    images = [tmp_path / name for name in ("a", "b", "c", "d.nii.gz")]
    write_dicom_seg(tmp_path / "s.dcm", array, read_image(images[:1]).geometry, images, segmenter())
    data = pydicom.dcmread(tmp_path / "s.dcm")
    sources = [item.ReferencedSOPInstanceUID for item in data.SourceImageSequence]
    assert set(sources) == {*uids["a"], *uids["b"]}
    write_label(tmp_path / "map.nii.gz", array, read_image(images[:1]).geometry)
    for _, uid, position, _ in frames(tmp_path / "s.dcm"):
        assert position[2] == pytest.approx(30 + 2.5 * uids["a"].index(uid))


def test_a_single_file_without_a_place_in_the_patient(tmp_path):
    places = ("FrameOfReferenceUID", "PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient")
    xray = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": "CR", **dict.fromkeys(places)}
    array = two_boxes()[3:4]
    (uid,) = write_series(tmp_path / "series", array, **xray)
    image = tmp_path / "series" / "IM000"
    for source in (image, tmp_path / "series"):
        write_dicom_seg(tmp_path / "s.dcm", array, read_image([source]).geometry, [source], segmenter())
        data = pydicom.dcmread(tmp_path / "s.dcm")
        bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")[: 2 * 9 * 11]
        assert np.array_equal(bits.reshape(2, 9, 11), [array[0] == 1, array[0] == 2])
        assert data.SourceImageSequence[0].ReferencedSOPInstanceUID == uid


@pytest.mark.parametrize("attribute", ["FrameOfReferenceUID", "StudyInstanceUID", "PixelSpacing"])
def test_a_series_that_lacks_its_identity_is_refused_by_name(tmp_path, attribute):
    write_series(tmp_path / "series", two_boxes(), **{attribute: None})
    with pytest.raises(DataError, match=rf"IM000 states no {attribute}"):
        check_source(tmp_path / "series")
    geometry = read_image([tmp_path / "series"]).geometry
    with pytest.raises(DataError, match=rf"states no {attribute}"):
        write_dicom_seg(tmp_path / "s.dcm", two_boxes(), geometry, [tmp_path / "series"], segmenter())
    assert not (tmp_path / "s.dcm").exists()


def test_several_frames_in_a_file_are_refused(tmp_path):
    write_series(tmp_path / "series", two_boxes()[:1], NumberOfFrames=2, PixelData=bytes(4 * 9 * 11))
    with pytest.raises(DataError, match="IM000 holds 2 frames"):
        check_source(tmp_path / "series")


@pytest.mark.parametrize(("value", "dtype"), [(3, np.uint8), (200, np.uint8), (-1, np.int16)])
def test_a_value_that_is_no_label_is_refused(tmp_path, value, dtype):
    array = two_boxes().astype(dtype)
    array[2, 2, 2] = value
    with pytest.raises(DataError, match=rf"labels have the values \[1, 2\], the map holds {value}"):
        write(tmp_path, array)


def test_a_map_of_another_shape_is_refused(tmp_path):
    write_series(tmp_path / "series", two_boxes())
    geometry = read_image([tmp_path / "series"]).geometry
    with pytest.raises(DataError, match=r"series has \(Z, Y, X\) \(6, 9, 11\), the map \(5, 9, 11\)"):
        write_dicom_seg(tmp_path / "s.dcm", two_boxes()[1:], geometry, [tmp_path / "series"], segmenter())


def test_what_highdicom_refuses_names_the_files(tmp_path):
    write_series(tmp_path / "series", two_boxes())
    stray = pydicom.dcmread(tmp_path / "series" / "IM002")
    stray.StudyInstanceUID = "1.2.826.3"
    stray.save_as(tmp_path / "series" / "IM002")
    geometry = read_image([tmp_path / "series"]).geometry
    with pytest.raises(DataError, match=r"cannot write .*s\.dcm as DICOM-SEG of .*series: Source images must all"):
        write_dicom_seg(tmp_path / "s.dcm", two_boxes(), geometry, [tmp_path / "series"], segmenter())


@pytest.mark.parametrize("package", ["highdicom", "pydicom"])
def test_a_missing_package_comes_with_the_line_that_brings_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf'package {package}.*pip install "segfw\[dicom\]".*output_format=nii\.gz'):
        check_source(tmp_path)


def test_a_model_is_named_by_dataset_date_and_a_number_of_its_own():
    bundle = make_bundle(make_plan())
    made = segmenter_of(bundle)
    assert (made.name, made.version, len(made.number)) == ("Dataset", "2026-11-23", 16)
    assert made == segmenter_of(bundle)
    other = Bundle(bundle.plan, bundle.members, (), bundle.inference, type(bundle.provenance)("2026-11-24"))
    assert segmenter_of(other).number != made.number
