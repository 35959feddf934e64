"""Folders of images and label maps in the working directory, and the verb `init` on them."""

import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import yaml

from segfw.core.settings.verbs import InitSettings
from segfw.io.formats.images import same_locale
from segfw.stages.dataset import init


def write(path, array, spacing=None):
    """Write an array as an image file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array)
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 3 and path.suffix == ".png")
    if spacing:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def write_series(folder, array):
    """Write an array as the slices of one DICOM series."""
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, plane in enumerate(array):
        image = sitk.GetImageFromArray(plane[np.newaxis])
        tags = {"0020|000e": "1.2.3", "0008|0018": f"1.2.3.{number}", "0008|0016": "1.2.840.10008.5.1.4.1.1.2"}
        tags |= {"0020|0032": f"0\\0\\{3 * number}", "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0060": "CT"}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number}.dcm"))
        with same_locale():
            writer.Execute(image)


def volume(*values, shape=(2, 3, 4)):
    """Return a label map that holds one voxel of each value, 0 elsewhere."""
    array = np.zeros(shape, np.uint8 if min(values, default=0) >= 0 else np.int16)
    array.flat[: len(values)] = values
    return array


def two_folders(cases=("p1", "p2"), values=(1, 2), folder=Path()):
    """Write `img` and `seg` with the cases, whose label maps hold `values`."""
    for number, case in enumerate(cases):
        write(folder / "img" / f"{case}_img.nii.gz", np.full((2, 3, 4), number, np.float32), (1, 1, 3))
        write(folder / "seg" / f"{case}_seg.nii.gz", volume(*values), (1, 1, 3))


def run(capsys, **changes):
    """Run the verb in-line; return the task file's content and what was shown."""
    plain = {"images": "img", "labels": "seg", "name": "Mine", "modality": "CT", "workers": 0}
    settings = InitSettings(**{**plain, **changes})
    init.run(settings)
    text = Path(settings.config_dir, "task", f"{settings.name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text), capsys.readouterr().out


def rows():
    """Return the rows of the list of files that was written."""
    with Path("configs/task/Mine.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
