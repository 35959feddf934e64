"""DICOM-SEG: a label map as a DICOM object that viewers and archives lay over the series it was made of.

One binary segment per label, one frame for each slice in which it occurs, losslessly packed to a bit per pixel. Frames
state the patient's coordinates and, by UID, the slice that they belong to; slices are taken in the order in which
`segfw.io.formats.dicom` stacks them, by position.

Like every DICOM object it says whose it is: the attributes of the patient and the study are those of the series, which
it refers to by UID. Nothing else of the series goes into it, such as the hospital's or the scanner's name, and of this
machine, its paths and its user nothing at all. Messages name attributes, never their values.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.support.files import atomic_path
from segfw.core.types import Geometry, IntArray
from segfw.core.version import __version__
from segfw.inference.bundle import Bundle
from segfw.io.formats.dicom import is_dicom, slice_files

INSTALL = 'pip install "segfw[dicom]"  (or: pip install highdicom)'
LONGEST, LONGEST_TEXT = 64, 1024  # characters of DICOM's long strings (LO) and short texts (ST)
UNICODE = "ISO_IR 192"
ACQUISITION = "109101"  # code of equipment that has acquired the images
SERIES_OFFSET = 1000  # our series' numbers beside those of the scanner
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns")
PLACE = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
FOREIGN = (ValueError, TypeError, AttributeError, KeyError, IndexError, OSError)
"""What highdicom and pydicom raise for attributes that they cannot read, copy or write."""


@dataclass(frozen=True)
class Segmenter:
    """What made a segmentation. `name`, `version`: of the model; `number`: tells it from others; `labels`: its own."""

    name: str
    version: str
    number: str
    labels: LabelSet


class _Packages(NamedTuple):
    """The modules highdicom, its `seg`, and pydicom."""

    high: Any
    seg: Any
    files: Any


def segmenter_of(bundle: Bundle) -> Segmenter:
    """Describe a model as DICOM-SEG does: by its dataset's name and date, and a hash of where it comes from."""
    origin = bundle.provenance
    number = hashlib.sha256(repr((bundle.plan.dataset_name, origin)).encode()).hexdigest()[:16]
    return Segmenter(bundle.plan.dataset_name, origin.created or number, number, bundle.plan.labels)


def segment_names(labels: LabelSet) -> dict[int, str]:
    """Return value -> name of what a segmentation may hold, ascending; with regions, all that hold the value."""
    values = labels.foreground_values
    if labels.has_regions:
        values = tuple(sorted(set(labels.regions_class_order or ()) - {0}))
    return {
        value: " + ".join(name for name, members in labels.foreground if value in members) or f"label {value}"
        for value in values
    }


def require_highdicom() -> _Packages:
    """Return the modules of the extra; `UsageError` with the `pip` line that brings them."""
    try:
        import highdicom
        import highdicom.seg
        import pydicom
    except ImportError as error:
        raise UsageError(
            f"DICOM-SEG needs the package {error.name}, which is not installed: {INSTALL}; "
            "inference.output_format=nii.gz writes label maps alone"
        ) from error
    return _Packages(highdicom, highdicom.seg, pydicom)


def check_source(image: Path) -> None:
    """Raise `DataError` if no DICOM-SEG can refer to a DICOM image, as far as the header of one slice tells."""
    packages = require_highdicom()
    first = next((file for file in sorted(image.iterdir()) if is_dicom(file)), image) if image.is_dir() else image
    _require_attributes(first, _read_header(first, packages), alone=not image.is_dir())


def write_dicom_seg(
    path: Path, segmentation: IntArray, geometry: Geometry, images: Sequence[Path], segmenter: Segmenter
) -> None:
    """Write a label map (Z, Y, X) as DICOM-SEG on the grid of its first image, whole or not at all.

    `images`: files or folders of a series, as they were read; further ones that are DICOM of the same study are
    referred to as well. Raises `UsageError` with the `pip` line where highdicom is missing; `DataError` for a series
    that lacks what DICOM-SEG must state, for several frames in a file, and for voxels of a value that is no label.
    """
    packages = require_highdicom()
    headers = _read_slices(images[0], geometry, packages)
    if segmentation.shape != (found := (len(headers), int(headers[0].Rows), int(headers[0].Columns))):
        raise DataError(f"cannot write {path}: the series has (Z, Y, X) {found}, the map {segmentation.shape}")
    further = [header for image in images[1:] for header in _read_related(image, headers[0], packages)]
    names = segment_names(segmenter.labels)
    numbers = _segment_numbers(path, segmentation, tuple(names))
    try:
        content = _compose(headers, further, numbers, names, segmenter, packages)
        with atomic_path(path) as temporary:
            content.save_as(temporary)
    except FOREIGN as error:
        raise DataError(f"cannot write {path} as DICOM-SEG of {images[0]}: {error}") from error


def _compose(
    headers: list[Any],
    further: list[Any],
    numbers: IntArray,
    names: dict[int, str],
    segmenter: Segmenter,
    packages: _Packages,
) -> Any:
    high, first = packages.high, headers[0]
    place: dict[str, Any] = {}
    is_empty = not numbers.any()
    if is_empty:  # a frame must be there: that of the first slice
        numbers = numbers[:1]
        if "ImagePositionPatient" in first:
            position = high.PlanePositionSequence("PATIENT", first.ImagePositionPatient)
            place["plane_positions"] = [position]
    content = packages.seg.Segmentation(
        source_images=headers,
        pixel_array=numbers,
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(names, segmenter, packages),
        series_instance_uid=high.UID(),
        series_number=SERIES_OFFSET + max(0, int(first.get("SeriesNumber") or 0)),
        sop_instance_uid=high.UID(),
        instance_number=1,
        manufacturer="segfw",
        manufacturer_model_name=_shortened(segmenter.name),
        software_versions=__version__,
        device_serial_number=segmenter.number,
        content_label="SEGMENTATION",
        content_description=_shortened(f"Segmentation by the model {segmenter.name}"),
        series_description=_shortened(f"Segmentation {segmenter.name}"),
        transfer_syntax_uid=packages.files.uid.ExplicitVRLittleEndian,
        further_source_images=further or None,
        specific_character_set=UNICODE,
        omit_empty_frames=not is_empty,
        **place,
    )
    content.ContributingEquipmentSequence = [
        item
        for item in content.ContributingEquipmentSequence
        if item.PurposeOfReferenceCodeSequence[0].CodeValue != ACQUISITION
    ]
    used = -(-int(content.NumberOfFrames) * content.Rows * content.Columns // 8)
    if len(content.PixelData) > used:  # a byte that makes their number even, which highdicom sets to a character
        content.PixelData = content.PixelData[:used] + b"\0"
    return content


def _descriptions(names: dict[int, str], segmenter: Segmenter, packages: _Packages) -> list[Any]:
    """Describe the segments. Their code is the neutral one: names of labels belong to no terminology."""
    codes = packages.files.sr.codedict.codes
    family = codes.cid7162.ArtificialIntelligence
    algorithm = packages.high.AlgorithmIdentificationSequence(
        _shortened(segmenter.name), family, _shortened(segmenter.version), source="segfw"
    )
    described = []
    for number, (value, name) in enumerate(names.items(), 1):
        tissue = codes.SCT.Tissue
        segment = packages.seg.SegmentDescription(number, _shortened(name), tissue, tissue, "AUTOMATIC", algorithm)
        segment.SegmentDescription = _shortened(f"{name} (value {value} in the label map)", LONGEST_TEXT)
        described.append(segment)
    return described


def _segment_numbers(path: Path, segmentation: IntArray, values: tuple[int, ...]) -> IntArray:
    """Return the map with segments' numbers, which count up from 1, in place of `values`; slice by slice."""
    table = np.zeros(max(values) + 1, np.uint8 if len(values) < 256 else np.uint16)
    table[list(values)] = np.arange(1, len(values) + 1)
    numbers: IntArray = np.zeros(segmentation.shape, table.dtype)
    for target, plane in zip(numbers, segmentation, strict=True):
        target[:] = table.take(plane, mode="clip")
        unknown = plane[(plane < 0) | (plane >= len(table)) | ((plane != 0) & (target == 0))]
        if unknown.size:
            raise DataError(
                f"cannot write {path}: the model's labels have the values {list(values)}, the map holds {unknown[0]}"
            )
    return numbers


def _read_slices(image: Path, geometry: Geometry, packages: _Packages) -> list[Any]:
    """Read the headers of an image's slices, in order, made to agree as far as the reader lets them differ."""
    files = slice_files(image)
    headers = [_read_header(file, packages) for file in files]
    for file, header in zip(files, headers, strict=True):
        _require_attributes(file, header, alone=len(files) == 1)
        _fill_in(header, packages)
        if "ImagePositionPatient" in header and "FrameOfReferenceUID" in header:
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
            header.FrameOfReferenceUID = headers[0].FrameOfReferenceUID
            step = packages.files.valuerep.DSfloat(abs(geometry.spacing[0]), auto_format=True)
            header.SpacingBetweenSlices = step  # what scanners state here is the gap as often as the distance
            if not header.get("SliceThickness"):
                header.SliceThickness = step
    return headers


def _read_related(image: Path, first: Any, packages: _Packages) -> list[Any]:
    """Read the headers of a further channel; none if it is no DICOM, or of another study, which cannot be named."""
    if not is_dicom(image):
        return []
    headers = [_read_header(file, packages) for file in slice_files(image)]
    return [header for header in headers if header.get("StudyInstanceUID") == first.StudyInstanceUID]


def _read_header(file: Path, packages: _Packages) -> Any:
    try:
        return packages.files.dcmread(file, stop_before_pixels=True)
    except (packages.files.errors.InvalidDicomError, *FOREIGN) as error:
        raise DataError(f"cannot read the DICOM header of {file}: {error}") from error


def _require_attributes(file: Path, header: Any, alone: bool) -> None:
    """Raise `DataError` unless a slice states what it is and, where it is one of several, where it lies."""
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise DataError(f"{file} holds {header.NumberOfFrames} frames; a DICOM-SEG is made for files of one slice each")
    needed = IDENTITY if alone and "FrameOfReferenceUID" not in header else (*IDENTITY, *PLACE)
    missing = [name for name in needed if header.get(name) in (None, "")]
    if missing:
        raise DataError(f"{file} states no {', '.join(missing)}, to which a DICOM-SEG must refer")


def _fill_in(header: Any, packages: _Packages) -> None:
    """Make what may be unknown empty where it is missing, or where it is nothing that DICOM allows there."""
    values = packages.files.valuerep
    checks: dict[str, Callable[[Any], Any]] = {
        "PatientSex": packages.high.PatientSexValues,
        "PatientBirthDate": values.DA,
        "StudyDate": values.DA,
        "StudyTime": values.TM,
    }
    for name in MAY_BE_EMPTY:
        value = header.get(name)
        try:
            if value not in (None, "") and name in checks:
                checks[name](value)
        except ValueError:
            value = None
        if value is None:
            setattr(header, name, None if name != "PatientSex" else "")


def _shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text as DICOM holds it: no backslash, which separates values, and not too long."""
    text = text.replace("\\", "/")
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
