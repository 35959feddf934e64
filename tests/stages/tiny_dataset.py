"""A dataset of three tiny cases, written by the tests, that each test breaks in its own way."""

import json
import logging

import numpy as np
import SimpleITK as sitk

from segfw.core.errors import SegfwError
from segfw.core.settings.schema import ExecutorSettings, ExperimentSettings, SplitSettings, TaskSettings, VerifySettings
from segfw.stages.dataset import verify

SPACING = (0.5, 0.5, 2.0)  # x, y, z in mm
SHAPE = (4, 5, 6)  # z, y, x
CASES = ("ann", "bob", "cyd")


def write(path, array, spacing=SPACING, origin=(0.0, 0.0, 0.0), direction=None):
    """Write an array (Z, Y, X) or (C, Z, Y, X) as a scalar image of as many axes; geometry in ITK's order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.asarray(array), isVector=False)
    extra = image.GetDimension() - len(spacing)
    image.SetSpacing((*spacing, *[1.0] * extra)[: image.GetDimension()])
    image.SetOrigin((*origin, *[0.0] * extra)[: image.GetDimension()])
    if direction is not None:
        image.SetDirection(np.asarray(direction, float).ravel().tolist())
    sitk.WriteImage(image, str(path))


def image_of(case, shape=SHAPE):
    """Return the voxels of a case, different for each."""
    return np.random.default_rng(CASES.index(case)).integers(-100, 100, shape).astype(np.int16)


def label_of(case):
    """Return a label map with 117, 2 and 1 voxels of the values 0, 1 and 2, at places of its own."""
    array = np.zeros(SHAPE, np.uint8)
    array[1, 2, 2:4] = 1
    array[2, 2, 2 + CASES.index(case)] = 2
    return array


def describe(folder, **changes):
    """Write dataset.json with `changes`."""
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "tumor": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps({**description, **changes}))


def make(folder):
    """Write a faultless dataset in nnU-Net's layout and return its folder."""
    folder.mkdir(parents=True)
    describe(folder)
    for case in CASES:
        write(image_file(folder, case), image_of(case))
        write(label_file(folder, case), label_of(case))
    return folder


def image_file(folder, case, channel=0, ending=".nii.gz"):
    """Return where a channel of a case lies."""
    return folder / "imagesTr" / f"{case}_{channel:04}{ending}"


def label_file(folder, case, ending=".nii.gz"):
    """Return where the label map of a case lies."""
    return folder / "labelsTr" / f"{case}{ending}"


def settings_of(folder, output, **options):
    """Return settings for the dataset in `folder`, in-line; `options` are of `verify`, and `task`."""
    task = {"name": folder.stem, "folder": str(folder), **options.pop("task", {})}
    return ExperimentSettings(
        task=TaskSettings(**task),
        data_root=str(folder.parent),
        output_root=str(output),
        verify=VerifySettings(**options),
        split=SplitSettings(num_folds=3),
        executor=ExecutorSettings(workers=0),
    )


def verdict(folder, output, caplog, **options):
    """Run `verify` and return (exit status, last line, rows shown, verification.json)."""
    caplog.clear()
    settings = settings_of(folder, output, **options)
    with caplog.at_level(logging.INFO):
        try:
            verify.run(settings)
            status, last = 0, caplog.messages[-1]
        except SegfwError as error:
            status, last = error.exit_status, str(error)
    path = output / settings.task.name / "verification.json"
    found = json.loads(path.read_text()) if path.exists() else None
    return status, last, list(caplog.messages), found
