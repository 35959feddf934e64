"""What may be wrong with the volumes of a case, and between cases: every fault, not the first.

The files are read elsewhere; here is what they must satisfy. Errors are what training would fail on or, worse, learn
from; warnings are what a person should look at.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segfw.core.cases.case_checks import not_finite
from segfw.core.cases.dataset import Dataset
from segfw.core.cases.faults import Fault, Severity
from segfw.core.imaging.grids import compare_grids
from segfw.core.labels import LabelSet
from segfw.core.types import Shape, Spacing, Volume

SMALLEST_SPACING, LARGEST_SPACING = 1e-3, 50.0  # mm; outside, the unit is probably another
LARGEST_ANISOTROPY = 100.0
NAMED_VALUES = 5  # of them, in a message
BLOCK = 2**20


@dataclass(frozen=True, eq=False)
class FileVolume:
    """One file of a case as it was read.

    `positioned`: whether its format states where the voxels lie, `spaced`: how large they are (PNG states neither).
    `channel`: number of its first channel; `alpha_dropped`: the reader has left out an alpha channel that is the same
    everywhere; `replaced`: how many NaN or infinite voxels the reader has replaced by numbers, and the index of the
    first one in the array's own order.
    """

    path: str
    volume: Volume
    channel: int = 0
    positioned: bool = True
    spaced: bool = True
    alpha_dropped: bool = False
    replaced: tuple[int, int] | None = None

    def not_finite(self) -> list[tuple[int, str]]:
        """Return (channel of this file, words) for each channel with voxels that are NaN or infinite."""
        array = self.volume.array
        if self.replaced is None:
            counted = [(channel, not_finite(voxels)) for channel, voxels in enumerate(array)]
            return [(channel, _not_finite_words(bad, array.shape[1:])) for channel, bad in counted if bad is not None]
        count, first = self.replaced
        channel, within = divmod(min(first, array.size - 1), array[0].size)
        return [(channel, _not_finite_words((count, within), array.shape[1:]))]


@dataclass(frozen=True)
class CaseContent:
    """What the files of a case hold, as far as they could be read.

    `shape` (voxels) and `spacing` (mm) are (Z, Y, X), empty without an image; `labels`: value -> voxels; the digests
    are of the voxels, not of the files, and empty where something could not be read.
    """

    shape: Shape = ()
    spacing: Spacing = ()
    labels: dict[int, int] = field(default_factory=dict)
    image_digest: str = ""
    label_digest: str = ""


@dataclass(frozen=True)
class CaseCheck:
    """What was found in one case: its faults and its content."""

    case: str
    faults: tuple[Fault, ...]
    content: CaseContent

    @property
    def has_errors(self) -> bool:
        """Whether the case cannot be used as it is."""
        return any(fault.severity == "error" for fault in self.faults)


@dataclass(frozen=True)
class Verification:
    """What was found in a dataset, as it is kept on disk.

    `made_from`: what it depends on; `faults`: those of every case and of several together, errors first.
    """

    dataset: str
    tolerance: float
    made_from: dict[str, str]
    faults: tuple[Fault, ...]
    cases: dict[str, CaseContent]

    @property
    def errors(self) -> tuple[Fault, ...]:
        """The faults that no training may start with."""
        return tuple(fault for fault in self.faults if fault.severity == "error")


def check_volumes(
    case: str, images: Sequence[FileVolume], label: FileVolume | None, dataset: Dataset, tolerance: float
) -> tuple[Fault, ...]:
    """Return every fault of a case's files that could be read; those that could not are left out of the arguments."""
    found: list[Fault] = []

    def tell(severity: Severity, kind: str, message: str, file: str) -> None:
        found.append(Fault(case, severity, kind, message, file))

    for number, image in enumerate(images):
        for channel, problem in image.not_finite():
            tell("error", "not-finite", f"{_channel(image.channel + channel, dataset)}: {problem}", image.path)
        if image.alpha_dropped:
            tell("warning", "alpha", "an alpha channel of one value is left out", image.path)
        if number == 0 and (problem := _odd_spacing(image)):
            tell("warning", "odd-spacing", f"implausible {problem}; is it in mm?", image.path)
        if number:
            for kind, problem in _grid_problems(images[0], image, tolerance):
                tell("error", kind, f"{_channel(image.channel, dataset)}: {problem}", image.path)
    if label is not None:
        if images:
            for kind, problem in _grid_problems(images[0], label, tolerance):
                tell("error", kind, f"label map: {problem}", label.path)
        for _, problem in label.not_finite():
            tell("error", "not-finite", f"label map: {problem}", label.path)
        for severity, kind, problem in _label_problems(label.volume.array, dataset.labels):
            tell(severity, kind, problem, label.path)
    return tuple(found)


def channel_fault(case: str, images: Sequence[FileVolume], num_channels: int) -> Fault | None:
    """Return the fault of a case, all of whose image files were read, that has not the declared number of channels."""
    count = sum(len(image.volume.array) for image in images)
    if count == num_channels:
        return None
    file = images[0].path if len(images) == 1 else ""
    if len(images) == 1 and num_channels == 1 and images[0].positioned:
        message = f"the image is 4D, {count} volumes in one file, and 1 channel is declared; see task.channels"
        return Fault(case, "error", "4d", message, file)
    files = "1 file" if len(images) == 1 else f"{len(images)} files"
    message = f"{count} channel{'s' * (count != 1)} in {files}, {num_channels} declared; see task.channels"
    return Fault(case, "error", "channels", message, file)


def check_across(checks: Sequence[CaseCheck], dataset: Dataset) -> tuple[Fault, ...]:
    """Return the faults that only several cases together show, those of the dataset under its own name."""
    found = [*_duplicates(checks)]
    if dataset.num_training != len(checks):
        there = "1 case is" if len(checks) == 1 else f"{len(checks)} cases are"
        message = f"numTraining is {dataset.num_training}, {there} there; it limits the batch size"
        found.append(Fault(dataset.name, "warning", "count", message))
    return tuple(found)


def propose_remap(checks: Iterable[CaseCheck], labels: LabelSet) -> dict[int, int]:
    """Return value in the files -> declared value, where as many values are undeclared as are declared and absent.

    Empty where the numbers differ, so that no order could tell which value is meant.
    """
    found = {value for check in checks for value in check.content.labels}
    declared = set(labels.allowed_values)
    unknown, unused = sorted(found - declared), sorted(declared - found)
    return dict(zip(unknown, unused, strict=True)) if len(unknown) == len(unused) else {}


def propose_ignore(checks: Sequence[CaseCheck], labels: LabelSet) -> int | None:
    """Return the only undeclared value if it follows the largest label and at least half the cases hold it.

    That is where nnU-Net wants voxels that are to be ignored; None where such a value is declared.
    """
    holders = [set(check.content.labels) - set(labels.all_values) for check in checks]
    next_value = max(labels.all_values) + 1
    found = [values for values in holders if values]
    if labels.ignore_value is not None or not found or any(values != {next_value} for values in found):
        return None
    return next_value if 2 * len(found) >= len(checks) else None


def content_digest(arrays: Iterable[NDArray[np.generic]]) -> str:
    """Return a hash of shapes and voxels, the same whatever file they came from."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(repr(array.shape).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def value_counts(array: NDArray[np.generic]) -> dict[int, int]:
    """Count the voxels of each whole number in `array`; other values are left out."""
    flat = array.reshape(-1)
    if array.dtype.kind == "f":
        whole = flat[np.isfinite(flat)]
        flat = whole[whole == np.rint(whole)]
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    # Counting into a table needs neither sorting nor, block by block, memory of the volume's size.
    if high - low >= 2**16:
        values, counts = np.unique(flat, return_counts=True)
    else:
        counts = np.zeros(high - low + 1, np.int64)
        for start in range(0, flat.size, BLOCK):
            block = flat[start : start + BLOCK].astype(np.int64)
            counts += np.bincount(block - low, minlength=len(counts))
        values = np.arange(low, high + 1)[counts > 0]
        counts = counts[counts > 0]
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _grid_problems(first: FileVolume, other: FileVolume, tolerance: float) -> list[tuple[str, str]]:
    positioned, spaced = first.positioned and other.positioned, first.spaced and other.spaced
    differences = compare_grids(first.volume, other.volume, tolerance, positioned, spaced)
    return [(difference.kind, difference.message) for difference in differences]


def _label_problems(array: NDArray[np.generic], labels: LabelSet) -> Iterable[tuple[Severity, str, str]]:
    if len(array) != 1:
        yield "error", "label-channels", f"the label map has {len(array)} channels, 1 is allowed"
    counts = value_counts(array)
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        fractions = finite[finite != np.rint(finite)]
        if fractions.size:
            example = f"{float(fractions[0]):.6g}"
            yield "error", "not-integer", f"label map: {_voxels(fractions.size)} no whole number, such as {example}"
    allowed = labels.allowed_values
    unknown = {value: count for value, count in counts.items() if value not in allowed}
    if unknown:
        named = ", ".join(str(value) for value in list(unknown)[:NAMED_VALUES])
        more = f" and {len(unknown) - NAMED_VALUES} more" if len(unknown) > NAMED_VALUES else ""
        declared = ", ".join(map(str, allowed))
        plural = "s" if len(unknown) > 1 else ""
        message = f"value{plural} {named}{more} in {_voxels(sum(unknown.values()), '')}; declared are {declared}"
        yield "error", "label-values", message
    if counts and set(counts) <= {0, labels.ignore_value} and sum(counts.values()) == array.size:
        yield "warning", "empty-label", f"the label map holds nothing but {_blank_words(set(counts))}"


def _blank_words(values: set[int]) -> str:
    return " and ".join(name for name, there in (("background", 0 in values), ("ignore", bool(values - {0}))) if there)


def _odd_spacing(image: FileVolume) -> str:
    """Return the spacing in words where a format that states one has an implausible one."""
    geometry = image.volume.geometry
    if not image.positioned or geometry is None:
        return ""
    spacing = [abs(s) for s in geometry.spacing]
    plausible = min(spacing) >= SMALLEST_SPACING and max(spacing) <= LARGEST_SPACING
    if plausible and max(spacing) / min(spacing) <= LARGEST_ANISOTROPY:
        return ""
    return f"spacing of {' x '.join(f'{s:.4g}' for s in spacing)}"


def _duplicates(checks: Sequence[CaseCheck]) -> Iterable[Fault]:
    groups: Mapping[str, list[CaseCheck]] = defaultdict(list)
    for check in checks:
        if check.content.image_digest:
            groups[check.content.image_digest].append(check)
    for group in groups.values():
        labels: dict[str, str] = {}
        for check in group:
            if check.content.label_digest:
                labels.setdefault(check.content.label_digest, check.case)
        for number, check in enumerate(group):
            own = check.content.label_digest
            rivals = [case for digest, case in list(labels.items())[:2] if own and digest != own]
            if rivals:
                message = f"the same image as case {rivals[0]}, with another label map"
                yield Fault(check.case, "error", "conflict", message)
            elif number:
                same = "image and label map" if own and own == group[0].content.label_digest else "image"
                yield Fault(check.case, "warning", "duplicate", f"the same {same} as case {group[0].case}")


def _channel(number: int, dataset: Dataset) -> str:
    names = dataset.channel_names
    return f"channel {number} ({names[number]})" if number < len(names) else f"channel {number}"


def _not_finite_words(bad: tuple[int, int], shape: Shape) -> str:
    count, index = bad
    first = tuple(int(i) for i in np.unravel_index(index, shape))
    return f"{_voxels(count)} NaN or infinite, the first at {first} (z, y, x)"


def _voxels(count: int, verb: str = "are") -> str:
    if count == 1:
        return f"1 voxel{' is' if verb else ''}"
    return f"{count} voxels {verb}".rstrip()
