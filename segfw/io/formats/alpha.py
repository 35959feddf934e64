"""Whether a color image holds an alpha channel that reading has left out."""

from pathlib import Path

import SimpleITK as sitk

from segfw.core.errors import DataError
from segfw.io.formats.endings import NATURAL_ENDINGS, TIFF_ENDINGS, ending_of
from segfw.io.formats.tiff import samples_of_tiff


def lost_alpha(path: str, num_channels: int) -> bool:
    """Whether the file holds one component more than the `num_channels` read of it: an alpha that says nothing.

    Only the header is read; False for formats without alpha and for a header that cannot be read.
    """
    try:
        natural = ending_of(path).lower() in NATURAL_ENDINGS
    except DataError:
        return False
    if not natural or num_channels not in (1, 3):
        return False
    if ending_of(path).lower() in TIFF_ENDINGS:
        return _samples(Path(path)) == num_channels + 1
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return False
    return int(reader.GetNumberOfComponents()) == num_channels + 1


def _samples(path: Path) -> int:
    try:
        return samples_of_tiff(path)
    except DataError:
        return 0
