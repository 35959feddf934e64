"""Which formats there are, by the ending of a file's name, and what each of them can hold.

The tables name what listings take for an image. A file named by the user may also be of another format: SimpleITK is
asked whether it reads it as a volume with a geometry (see `foreign_format`).
"""

from pathlib import Path

import SimpleITK as sitk

from segfw.core.errors import DataError

OME_ENDINGS = (".ome.tif", ".ome.tiff")
TIFF_ENDINGS = (*OME_ENDINGS, ".tif", ".tiff")
VOLUME_ENDINGS = (
    ".nii.gz",
    ".nii",
    ".nrrd",
    ".nhdr",
    ".mha",
    ".mhd",
    ".gipl.gz",
    ".gipl",
    ".hdr",
    ".img",
    ".mnc",
    ".mrc",
    ".vtk",
    ".dcm",
)
NATURAL_ENDINGS = (".png", ".bmp", *TIFF_ENDINGS, ".jpg", ".jpeg")
LOSSY_ENDINGS = (".jpg", ".jpeg")
INPUT_ONLY_ENDINGS = (*LOSSY_ENDINGS, ".dcm")
NIFTI_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
PAIR_ENDINGS = (".hdr", ".img", ".mhd", ".nhdr")  # header and voxels in two files
UNDIRECTED_ENDINGS = (".gipl.gz", ".gipl", ".mrc", ".vtk")  # hold spacing and origin, no direction

# named to ITK, which would otherwise ask all its formats in turn whether the file is theirs: about a millisecond
FORMATS = {
    **dict.fromkeys((".nii.gz", ".nii"), "NiftiImageIO"),
    **dict.fromkeys((".nrrd", ".nhdr"), "NrrdImageIO"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImageIO"),
    **dict.fromkeys((".gipl", ".gipl.gz"), "GiplImageIO"),
    ".mnc": "MINCImageIO",
    ".mrc": "MRCImageIO",
    ".vtk": "VTKImageIO",
    ".dcm": "GDCMImageIO",
}
FOREIGN_FORMATS = {*FORMATS.values(), "HDF5ImageIO", "Bruker2dseqImageIO", "GE4ImageIO", "GE5ImageIO"}


def ending_of(path: str | Path) -> str:
    """Return the part of the file name that names its format, such as `.nii.gz`, as it is written.

    Raises `DataError` for a name of no known format, listing the known ones.
    """
    name = Path(path).name
    for ending in (*VOLUME_ENDINGS, *NATURAL_ENDINGS):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[len(name) - len(ending) :]
    raise DataError(
        f"{path} is of no known image format; known endings: {', '.join((*VOLUME_ENDINGS, *NATURAL_ENDINGS))}"
    )


def is_known(path: str | Path) -> bool:
    """Whether the name ends as one of the tables says."""
    name = Path(path).name.lower()
    return any(name.endswith(ending) and len(name) > len(ending) for ending in (*VOLUME_ENDINGS, *NATURAL_ENDINGS))


def foreign_format(path: Path) -> str:
    """Return the ITK format that reads a file whose name tells none, such as a DICOM file without ending.

    Raises `DataError`, listing the known endings, where ITK has none that keeps a volume's values and geometry.
    """
    found = str(sitk.ImageFileReader().GetImageIOFromFileName(str(path)))
    if found not in FOREIGN_FORMATS:
        ending_of(path)
    return found
