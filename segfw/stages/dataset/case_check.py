"""Every file of one case read once, and everything that is wrong with it: nothing is raised for bad data.

What was read is handed on, so that a stage which needs the voxels anyway checks them in the same pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.cases.faults import Fault
from segfw.core.cases.verification import (
    CaseCheck,
    CaseContent,
    FileVolume,
    channel_fault,
    check_volumes,
    content_digest,
    value_counts,
)
from segfw.core.errors import SegfwError
from segfw.core.support.addresses import address_of
from segfw.core.types import FloatArray, Volume
from segfw.io.formats.alpha import lost_alpha
from segfw.io.formats.endings import NATURAL_ENDINGS, TIFF_ENDINGS
from segfw.io.formats.nifti_floats import find_not_finite
from segfw.io.formats.readers import read_image, read_label
from segfw.io.formats.tiff import tiff_states_spacing
from segfw.io.remote.system import NotThere

KEPT_VALUES = 1000
"""Label values kept of one case, the smallest: an image taken for a label map may have as many as voxels."""
LABEL_KINDS = ("label-channels", "not-finite", "not-integer")
"""Faults of a label map that the reader refuses and the checks describe."""


@dataclass(frozen=True, eq=False)
class CaseFiles:
    """The files of a case as they were read; what could not be read is in `faults`.

    `stack`: the channels `(C, Z, Y, X)` that the images' volumes are views of, None where they do not fit together.
    `label_fault`: why the label map was refused, where it could be read as an image only.
    """

    images: tuple[FileVolume, ...]
    stack: FloatArray | None
    label: FileVolume | None
    faults: tuple[Fault, ...]
    label_fault: Fault | None = None

    @property
    def image(self) -> Volume:
        """All channels as one volume; only for a case without errors."""
        if self.stack is None:
            raise ValueError("the files of this case do not make one image")
        first = self.images[0].volume
        return Volume(self.stack, first.spacing, first.geometry)


def check_case(case: Case, dataset: Dataset, tolerance: float) -> CaseCheck:
    """Read and check one case. The cases of `dataset` are not needed."""
    return check_files(case, read_case(case, dataset), dataset, tolerance)


def check_files(case: Case, files: CaseFiles, dataset: Dataset, tolerance: float) -> CaseCheck:
    """Check what was read of a case."""
    faults = [*files.faults, *check_volumes(case.name, files.images, files.label, dataset, tolerance)]
    if files.label_fault is not None and not any(
        fault.kind in LABEL_KINDS and fault.file == case.label for fault in faults
    ):
        faults.append(files.label_fault)
    complete = len(files.images) == len(case.images) > 0
    if complete and (fault := channel_fault(case.name, files.images, len(dataset.channel_names))):
        faults.append(fault)
    first = files.images[0].volume if files.images else None
    label = files.label.volume.array if files.label else None
    content = CaseContent(
        shape=first.shape if first else (),
        spacing=tuple(float(s) for s in first.spacing) if first else (),
        labels={} if label is None else dict(islice(value_counts(label).items(), KEPT_VALUES)),
        image_digest=content_digest(image.volume.array for image in files.images) if complete else "",
        label_digest="" if label is None or files.label_fault else content_digest([label]),
    )
    return CaseCheck(case.name, tuple(faults), content)


def read_case(case: Case, dataset: Dataset) -> CaseFiles:
    """Read each file of a case by itself, so that one that is at fault does not hide the others."""
    faults: list[Fault] = []
    images, stack = _read_images(case, faults)
    label, label_fault = None, None
    if case.label is None:
        faults.append(Fault(case.name, "error", "missing", "the case has no label map"))
    else:
        path = case.label
        read = _attempt(case.name, "label map", path, partial(read_label, path, dataset.remap))
        if isinstance(read, Fault) and read.kind != "missing":
            label_fault = read
            read = _attempt(case.name, "label map", path, partial(read_image, [path]))
        if isinstance(read, Fault):
            faults.append(label_fault or read)
            label_fault = None
        else:
            label = _as_file_volume(path, read)
    return CaseFiles(images, stack, label, tuple(faults), label_fault)


def _read_images(case: Case, faults: list[Fault]) -> tuple[tuple[FileVolume, ...], FloatArray | None]:
    """Read the channels, those of one shape into one array, so that they are never held twice."""
    images: list[FileVolume] = []
    stack: FloatArray | None = None
    several = len(case.images) > 1
    whole, channel = True, 0
    for number, path in enumerate(case.images):
        what = f"channel {number}" if several else "image"
        read = _attempt(case.name, what, path, partial(read_image, [path]))
        if isinstance(read, Fault):
            faults.append(read)
            whole = False
            channel += 1
            continue
        if not several:
            stack = np.asarray(read.array, np.float32)
        elif stack is None:
            stack = np.empty((len(case.images), *read.shape), np.float32)
        if several and stack is not None:
            if read.array.shape == (1, *stack.shape[1:]):
                stack[number] = read.array[0]
                read = Volume(stack[number : number + 1], read.spacing, read.geometry)
            else:
                whole = False
        images.append(_as_file_volume(path, read, channel))
        channel += len(read.array)
    return tuple(images), stack if whole else None


def _attempt(case: str, what: str, path: str, read: Callable[[], Volume]) -> Volume | Fault:
    """Return the volume, or the fault of a file that is missing or that a reader cannot make sense of.

    Damaged files make readers stumble in many ways; whichever it is, this file is to be named and the others checked.
    """
    name = Path(path).name
    try:
        if address_of(path) is None and not Path(path).exists():
            return Fault(case, "error", "missing", f"{what}: there is no file {name}", path)
        return read()
    except NotThere as error:
        return Fault(case, "error", "missing", f"{what}: {error}", path)
    except (SegfwError, OSError, MemoryError, RuntimeError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        line = " ".join(str(reason).replace(path, name).split())
        line = line.removeprefix(f"cannot read {name}: ").removeprefix(f"{name}: ")
        return Fault(case, "error", "unreadable", f"{what} {name}: {line}", path)


def _as_file_volume(path: str, volume: Volume, channel: int = 0) -> FileVolume:
    """Add what the reader does not tell: whether positions and spacing are stated, and what it left out or replaced."""
    lowered = path.lower()
    if lowered.endswith(NATURAL_ENDINGS):
        spaced = lowered.endswith(TIFF_ENDINGS) and tiff_states_spacing(Path(path))
        alpha = lost_alpha(path, len(volume.array))
        return FileVolume(path, volume, channel, positioned=False, spaced=spaced, alpha_dropped=alpha)
    return FileVolume(path, volume, channel, replaced=find_not_finite(Path(path)))
