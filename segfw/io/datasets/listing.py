"""Folders of image files: which there are, and what they are called."""

from pathlib import Path

from segfw.core.errors import DataError
from segfw.io.formats.dicom import holds_no_image, is_dicom_folder
from segfw.io.formats.endings import ending_of, is_known

UNCERTAINTY = "_uncertainty"
"""What the name of a map of uncertainty adds to that of the segmentation beside it."""


def is_image(path: Path) -> bool:
    """Whether the name ends as an image file's does (hidden files are none)."""
    return is_known(path) and not path.name.startswith(".")


def split_ending(path: Path) -> tuple[str, str]:
    """Return (name, ending) of an image file, such as ("case", ".nii.gz"); `DataError` for an unknown ending."""
    ending = ending_of(path)
    return path.name[: -len(ending)], ending


def image_files(folder: Path) -> dict[str, Path]:
    """Return {name: path} of a folder's images, by name: files, without their ending, and sub-folders with a DICOM
    series.

    Of a header and voxels in two files, `.hdr` and `.img`, the header stands for both. DICOM files without an image,
    such as DICOM-SEG beside a label map, are none. `DataError` for two images of one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image(path) and not _has_header_beside(path):
            if path.suffix.lower() == ".dcm" and holds_no_image(path):
                continue
            name = split_ending(path)[0]
        elif path.is_dir() and not path.name.startswith(".") and is_dicom_folder(path):
            name = path.name
        else:
            continue
        if name in found:
            raise DataError(f"{folder} holds {name} twice: {found[name].name} and {path.name}")
        found[name] = path
    return found


def _has_header_beside(path: Path) -> bool:
    return path.suffix.lower() == ".img" and any(path.with_suffix(ending).exists() for ending in (".hdr", ".HDR"))
