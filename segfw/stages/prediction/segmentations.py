"""Which files a segmentation becomes, and their writing: in its image's format, or in `inference.output_format`."""

import logging
from collections.abc import Sequence
from pathlib import Path

from segfw.core.errors import DataError, UsageError
from segfw.core.types import Geometry, IntArray, Volume
from segfw.inference.bundle import Bundle
from segfw.interop.dicom_seg import check_source, require_highdicom, segmenter_of, write_dicom_seg
from segfw.io.formats.dicom import is_dicom
from segfw.io.formats.endings import ending_of
from segfw.io.formats.writing import label_ending, require_fits, write_label

log = logging.getLogger(__name__)

DICOM_SEG, DICOM_ENDING = "dicom_seg", ".dcm"


def segmentation_files(name: str, images: Sequence[Path], folder: Path, output_format: str | None) -> tuple[Path, ...]:
    """Return the files that the segmentation of a case becomes in `folder`, the label map first.

    `output_format`: None takes the first image's format, and for DICOM `.nii.gz` with a DICOM-SEG beside it, unless
    the series cannot have one, which is said. Raises `UsageError` for DICOM-SEG of what is no DICOM image, and where
    highdicom is missing.
    """
    if output_format == DICOM_SEG:
        _require_dicom(images[0], f"inference.output_format={DICOM_SEG}")
        return (folder / f"{name}{DICOM_ENDING}",)
    label_map = folder / f"{name}{label_ending(images[0]) if output_format is None else f'.{output_format}'}"
    if output_format is not None or not is_dicom(images[0]):
        return (label_map,)
    require_highdicom()
    try:
        check_source(images[0])
    except DataError as error:
        log.warning("%s: there will be no DICOM-SEG, only %s: %s", name, label_map.name, error)
        return (label_map,)
    return label_map, folder / f"{name}{DICOM_ENDING}"


def named_file(output: Path, image: Path, output_format: str | None) -> tuple[Path, ...]:
    """Return the file that the user names for the segmentation of an image; its ending says the format.

    Raises `UsageError` where `output_format` says another, and for DICOM-SEG of what is no DICOM image.
    """
    ending = ending_of(output).lower()
    asked = DICOM_ENDING if output_format == DICOM_SEG else f".{output_format}"
    if output_format is not None and ending != asked:
        raise UsageError(f"inference.output_format={output_format}, but output={output} ends in {ending}; drop one")
    if ending == DICOM_ENDING:
        _require_dicom(image, f"output={output}")
    return (output,)


def grid_for(files: Sequence[Path], volume: Volume, images: Sequence[Path]) -> Geometry:
    """Return the grid to write on; `DataError`, before anything is computed, if a file cannot hold a map of it."""
    if volume.geometry is None:
        raise DataError(f"{images[0]} states no geometry to write on")
    for file in files:
        if _is_dicom_seg(file):
            check_source(images[0])
        else:
            require_fits(file, volume.shape, volume.geometry)
    return volume.geometry


def write_segmentation(
    files: Sequence[Path],
    segmentation: IntArray,
    geometry: Geometry,
    images: Sequence[Path],
    bundle: Bundle,
    notes: str = "",
) -> None:
    """Write a segmentation (Z, Y, X) to each of `files`, by their endings, each whole or not at all.

    `images`: those that were segmented, to which a DICOM-SEG refers; `bundle`: the model, which it names; `notes`:
    for the headers of the others.
    """
    for file in files:
        if _is_dicom_seg(file):
            write_dicom_seg(file, segmentation, geometry, images, segmenter_of(bundle))
        else:
            write_label(file, segmentation, geometry, notes)


def _is_dicom_seg(file: Path) -> bool:
    return file.suffix.lower() == DICOM_ENDING


def _require_dicom(image: Path, setting: str) -> None:
    if not is_dicom(image):
        raise UsageError(f"{setting}: a DICOM-SEG lies on a DICOM image, and {image} is none; write .nii.gz")
    require_highdicom()
