"""Verb `init`: pair two folders of images and label maps by name, show what is in them, and write a task file."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segfw.config import config_folder
from segfw.core.cases.affixes import TwoRulesError
from segfw.core.cases.dataset import Case
from segfw.core.cases.groups import guess_group_pattern
from segfw.core.cases.modality import find_modality
from segfw.core.cases.task_file import TaskDraft, consecutive, task_text
from segfw.core.cases.verification import value_counts
from segfw.core.errors import DataError, UsageError
from segfw.core.imaging.normalization import scheme_for_channel
from segfw.core.settings.schema import ExecutorSettings
from segfw.core.settings.verbs import InitSettings
from segfw.core.support.files import write_text
from segfw.core.support.screen import tell
from segfw.core.support.words import by, counted
from segfw.core.types import SLICE_SPACING, Shape, Spacing, Volume
from segfw.io.datasets.file_list import write_file_list
from segfw.io.datasets.pairing import Pairing, find_files, pair
from segfw.io.formats.readers import read_geometry, read_image, read_label
from segfw.stages.executor import run_cases

SHOWN_ALL, SHOWN_FIRST = 20, 10
MANY_VALUES, LARGE_VALUE = 50, 1000
"""More values than these, larger ones or negative ones are seldom classes."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_. -]*[A-Za-z0-9_-]|[A-Za-z]")
BY_HAND = (
    "write the pairs into a CSV with the columns case,image,label (image_T1,image_T2 for channels) and give it instead "
    "of a task file: task.name=Mine task.folder=FILE.csv 'task.labels={background: 0, NAME: VALUE}'"
)
HYDRA_WORDS = ("null", "true", "false", "nan", "inf")


@dataclass(frozen=True)
class LabelSurvey:
    """What one label map holds: {value: voxels}, its shape and its spacing."""

    voxels: dict[int, int]
    shape: Shape
    spacing: Spacing


@dataclass(frozen=True)
class Unreadable:
    """What is wrong with a case's files; `label` tells whether the label map is among them."""

    why: str
    label: bool


def run(settings: InitSettings) -> None:
    """Show pairs, orphans, label values and channels, and write the task file and the list of files beside it.

    Raises `UsageError` for a name that cannot be used and a task file that exists, `DataError` for folders without a
    pair and with unreadable files, all of which it lists; nothing is written then.
    """
    if settings.images is None or settings.labels is None or settings.name is None:
        raise UsageError("init needs images=FOLDER labels=FOLDER name=NAME")
    modality = None if settings.modality is None else find_modality(settings.modality, "modality")
    task_file = _task_file(settings.name, Path(settings.config_dir), settings.overwrite)
    images, labels = Path(settings.images), Path(settings.labels)
    pairing = _pair_folders(images, labels)
    _say(*_pair_lines(pairing))
    found = run_cases(
        survey_case,
        {case.name: case for case in pairing.cases},
        ExecutorSettings(workers=settings.workers),
        "label values",
    )
    surveys = {name: survey for name, survey in found.items() if isinstance(survey, LabelSurvey)}
    _refuse_unreadable(pairing.cases, {name: fault for name, fault in found.items() if isinstance(fault, Unreadable)})
    values = _values(surveys, labels)
    image = read_image(pairing.cases[0].images)
    _refuse_swapped(settings, values, image)
    channels, normalization = _channels(pairing, image, modality)
    _say(*_label_lines(surveys), *_grid_lines(surveys), *_channel_lines(channels, modality, normalization))
    files = task_file.with_suffix(".csv")
    draft = TaskDraft(
        name=settings.name,
        folder=os.path.abspath(files),
        channels=channels,
        values=values,
        modality=modality,
        normalization=normalization,
        group_pattern=guess_group_pattern(case.name for case in pairing.cases),
    )
    write_file_list(files, pairing.cases, pairing.channels)
    write_text(task_file, task_text(draft))
    _say(*_end_lines(task_file, files, consecutive(values), _next_command(settings.name, Path(settings.config_dir))))


def survey_case(case: Case) -> LabelSurvey | Unreadable:
    """Count the values of a case's label map and read its images' headers."""
    problems = []
    for path in case.images:
        try:
            read_geometry(path)
        except DataError as error:
            problems.append(str(error))
    try:
        volume = read_label(case.label or "")
    except DataError as error:
        return Unreadable("; ".join([*problems, str(error)]), label=True)
    if problems:
        return Unreadable("; ".join(problems), label=False)
    return LabelSurvey(value_counts(volume.array), volume.shape, volume.spacing)


def _task_file(name: str, config_dir: Path, overwrite: bool) -> Path:
    """Return where the task file goes; `UsageError` if that cannot or must not be."""
    if not NAME.fullmatch(name) or name.casefold() in HYDRA_WORDS:
        raise UsageError(
            f"name becomes a file and the word after +task=, so it begins with a letter and holds letters a to z, "
            f"digits, '_', '-', '.' and blanks inside, got {name!r}"
        )
    path = config_dir / "task" / f"{name}.yaml"
    packaged = config_folder() / "task" / path.name
    own = packaged.resolve() == path.resolve() and path.with_suffix(".csv").exists()
    if packaged.exists() and not own:
        raise UsageError(f"name: segfw brings a task {name}, which +task={name} would mean; choose another name")
    for place in (path, path.with_suffix(".csv")):
        if place.exists() and not overwrite:
            raise UsageError(f"{place} exists; choose another name, or replace it with overwrite=true")
    return path


def _pair_folders(images: Path, labels: Path) -> Pairing:
    image_files, label_files = find_files(images), find_files(labels)
    try:
        pairing = pair(image_files, label_files)
    except TwoRulesError as error:
        raise DataError(f"{error}\nleave one kind of file in each folder, rename files, or {BY_HAND}") from error
    if pairing.cases:
        return pairing
    mixed = set(image_files.values()) == set(label_files.values())
    remedy = (
        "in one folder, label maps have a word such as seg, label or mask that images have not"
        if mixed
        else "a label map has its image's name, but for a beginning or end that all share (case1_img and case1_seg)"
    )
    raise DataError(
        f"no image and label map pair by name; {remedy}; or {BY_HAND}\n"
        f"  {len(image_files)} images in {images}: {_examples(image_files)}\n"
        f"  {len(label_files)} label maps in {labels}: {_examples(label_files)}"
        + "".join(f"\n  {case} lacks {', '.join(missing)}" for case, missing in list(pairing.incomplete.items())[:3])
    )


def _refuse_unreadable(cases: Sequence[Case], faults: dict[str, Unreadable]) -> None:
    """Raise `DataError` that lists the faults; ask about folders that seem to be swapped."""
    if not faults:
        return
    rows = "".join(f"\n  {name}: {fault.why}" for name, fault in sorted(faults.items()))
    swapped = len(faults) == len(cases) and all(fault.label for fault in faults.values()) and _is_label_map(cases[0])
    raise DataError(
        f"{len(faults)} of {counted(len(cases), 'case')} cannot be read, so that nothing was written:{rows}\n"
        + ("are images= and labels= swapped?" if swapped else "mend or remove these files")
    )


def _is_label_map(case: Case) -> bool:
    """Whether the case's first image could be a label map."""
    try:
        read_label(case.images[0])
    except DataError:
        return False
    return True


def _values(surveys: dict[str, LabelSurvey], labels: Path) -> tuple[int, ...]:
    values = sorted({value for survey in surveys.values() for value in survey.voxels})
    if not set(values) - {0}:
        raise DataError(f"the label maps in {labels} hold nothing but 0, so there would be nothing to learn")
    return tuple(values)


def _refuse_swapped(settings: InitSettings, values: Sequence[int], image: Volume) -> None:
    """Raise `UsageError` where the label maps look like images and an image looks like a label map."""
    if not _hardly_classes(values):
        return
    levels = np.unique(image.array)
    if np.all(levels == np.rint(levels)) and not _hardly_classes(levels.astype(np.int64).tolist()):
        raise UsageError(
            f"the label maps in {settings.labels} hold {counted(len(values), 'value')} from {min(values)} to "
            f"{max(values)}, the first image in {settings.images} only {len(levels)}; are images= and labels= swapped?"
        )


def _hardly_classes(values: Sequence[int]) -> bool:
    return len(values) > MANY_VALUES or max(values) > LARGE_VALUE or min(values) < 0


def _channels(pairing: Pairing, image: Volume, modality: str | None) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return the channels' names and, where these ask for another scheme than the modality does, the schemes.

    The words that tell files apart are names; else colors are, and else the modality's word with a number.
    """
    first = pairing.cases[0]
    count = len(image.array)
    flat = image.geometry is not None and image.geometry.ndim == 2
    word = modality or "image"
    names: tuple[str, ...]
    if count == len(pairing.channels) > 1 and not all(name.isdigit() for name in pairing.channels):
        names = pairing.channels
    elif flat and len(first.images) == 1 and count in (3, 4):
        names = ("R", "G", "B", "A")[:count]
    else:
        names = (word,) if count == 1 else tuple(f"{word} {number}" for number in range(1, count + 1))
    scheme = scheme_for_channel(word)
    if modality is None or all(scheme_for_channel(name) == scheme for name in names):
        return names, None
    return names, (scheme,) * count


def _next_command(name: str, config_dir: Path) -> str:
    searched = config_dir.resolve() in ((Path.cwd() / "configs").resolve(), config_folder())
    flag = [] if searched else ["--config-dir", str(config_dir)]
    return shlex.join(["python", "-m", "segfw", "verify", *flag, f"+task={name}"])


def _pair_lines(pairing: Pairing) -> list[str]:
    shown = pairing.cases if len(pairing.cases) <= SHOWN_ALL else pairing.cases[:SHOWN_FIRST]
    rows = [
        ("case", "image", "label map"),
        *((case.name, _images(case), Path(case.label or "").name) for case in shown),
    ]
    lines = [f"{counted(len(pairing.cases), 'pair')}: {pairing.rule}", *_table(rows)]
    if len(shown) < len(pairing.cases):
        lines.append(f"  ... and {len(pairing.cases) - len(shown)} more")
    incomplete = [f"{case} ({', '.join(missing)})" for case, missing in pairing.incomplete.items()]
    for what, names in (
        ("images without a label map", pairing.orphan_images),
        ("label maps without an image", pairing.orphan_labels),
        ("cases without the image of a channel", incomplete),
    ):
        if names:
            first = names if len(names) <= SHOWN_ALL else names[:SHOWN_FIRST]
            more = f", and {len(names) - len(first)} more" if len(first) < len(names) else ""
            lines.append(f"{what}, left out ({len(names)}): {', '.join(first)}{more}")
    return [*lines, ""]


def _label_lines(surveys: dict[str, LabelSurvey]) -> list[str]:
    cases: Counter[int] = Counter()
    voxels: Counter[int] = Counter()
    for survey in surveys.values():
        cases.update(survey.voxels.keys())
        voxels.update(survey.voxels)
    rows = [("value", "cases", "voxels"), *((str(v), str(cases[v]), str(voxels[v])) for v in sorted(voxels))]
    lines = ["label values", *_table(rows, right=True)]
    if len(voxels) > MANY_VALUES:
        lines.append(f"  {len(voxels)} values are many: are these images, or numbered objects instead of classes?")
    return [*lines, ""]


def _grid_lines(surveys: dict[str, LabelSurvey]) -> list[str]:
    flat = all(survey.shape[0] == 1 and survey.spacing[0] >= SLICE_SPACING for survey in surveys.values())
    start, axes = (1, "(Y, X)") if flat else (0, "(Z, Y, X)")
    shapes = np.array([survey.shape[start:] for survey in surveys.values()])
    spacings = np.array([survey.spacing[start:] for survey in surveys.values()])
    lines = [f"shapes {axes}: {_range(shapes)} voxels"]
    if not (flat and np.all(spacings == 1)):  # pictures such as PNG state none
        lines.append(f"spacings {axes}: {_range(spacings)} mm")
    return lines


def _channel_lines(channels: tuple[str, ...], modality: str | None, normalization: tuple[str, ...] | None) -> list[str]:
    schemes = normalization or tuple(scheme_for_channel(name) for name in channels)
    lines = [f"modality: {modality or 'not given; modality=CT, for one, would normalize by Hounsfield units'}"]
    pairs = ", ".join(f"{name} ({scheme})" for name, scheme in zip(channels, schemes, strict=True))
    return [*lines, f"{counted(len(channels), 'channel')} (normalization): {pairs}", ""]


def _end_lines(task_file: Path, files: Path, remap: dict[int, int], command: str) -> list[str]:
    renumbered = (
        [f"label values do not count up from 0; remap: {remap} in the task file renumbers them"] if remap else []
    )
    return [*renumbered, f"wrote {task_file} and {files}; name the labels there, then", f"  {command}"]


def _images(case: Case) -> str:
    return ", ".join(Path(path).name for path in case.images)


def _examples(names: Sequence[str] | dict[str, Path]) -> str:
    return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")


def _range(rows: np.ndarray) -> str:
    low, high = (by(edge.tolist()) for edge in (rows.min(0), rows.max(0)))
    return low if low == high else f"{low} to {high}"


def _table(rows: Sequence[Sequence[str]], right: bool = False) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = str.rjust if right else str.ljust
    return ["  " + "  ".join(align(c, w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _say(*lines: str) -> None:
    tell("\n".join(lines) + "\n")
