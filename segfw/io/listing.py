"""Folders of image files: which there are, and what they are called."""

from pathlib import Path

import SimpleITK as sitk

from segfw.core.errors import DataError
from segfw.core.types import Geometry
from segfw.io.images import geometry_of
from segfw.io.readers import ending_of


def is_image(path: Path) -> bool:
    """Whether the name ends as an image file's does (hidden files are none)."""
    try:
        ending_of(path)
    except DataError:
        return False
    return not path.name.startswith(".")


def split_ending(path: Path) -> tuple[str, str]:
    """Return (name, ending) of an image file, such as ("case", ".nii.gz"); `DataError` for an unknown ending."""
    ending = ending_of(path)
    return path.name[: -len(ending)], ending


def image_files(folder: Path) -> dict[str, Path]:
    """Return {name without ending: path} of a folder's image files, by name; `DataError` for two files of one name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image(path):
            name = split_ending(path)[0]
            if name in found:
                raise DataError(f"{folder} holds {name} twice: {found[name].name} and {path.name}")
            found[name] = path
    return found


def read_geometry(path: str | Path) -> Geometry:
    """Read where an image's voxels lie from the file's header alone."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"cannot read the header of {path}: {error}") from error
    return geometry_of(reader, min(reader.GetDimension(), 3))
