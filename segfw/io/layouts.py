"""Dataset folders to `Dataset` values: the Medical Segmentation Decathlon's layout and nnU-Net v2's.

A Decathlon folder lists its cases under `training` in dataset.json, one file per case, which may hold several
channels. An nnU-Net v2 folder holds `imagesTr/<case>_<channel, four digits><ending>` and `labelsTr/<case><ending>`,
or lists files under `dataset`. What the task's settings state overrides what dataset.json states.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segfw.core.dataset import Case, Dataset
from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings import TaskSettings
from segfw.io.readers import NATURAL_ENDINGS, VOLUME_ENDINGS, ending_of

CHANNEL_SUFFIX = re.compile(r"(.+)_\d{4}")
LISTED = 10  # missing files named in one message


def dataset_folder(task: TaskSettings, data_root: Path) -> Path:
    """Return where the dataset of `task` lies: `task.folder` (else `task.name`), under `data_root` or absolute."""
    folder = task.folder or task.name
    if not folder:
        raise UsageError("no dataset is named; give +task=NAME, or task.name=NAME task.folder=FOLDER")
    return data_root / Path(folder).expanduser()


def read_dataset(task: TaskSettings, data_root: Path) -> Dataset:
    """Read what the dataset of `task` is and find the files of its training cases.

    Cases are sorted by name, except that an explicit `dataset` list keeps its order. Raises `DataError` for a missing
    folder (with the command that fetches it), a description that is incomplete or wrong, and missing files (all of
    them, up to ten by name).
    """
    folder = dataset_folder(task, data_root)
    if not folder.is_dir():
        raise DataError(f"there is no dataset folder {folder}{_how_to_get(task, data_root)}")
    description = _description(folder)
    ending = _ending(folder, description)
    channel_names = _channel_names(task, folder, description)
    cases = _cases(task, folder, description, ending, len(channel_names))
    if not cases:
        raise DataError(f"{folder} holds no training case: no image ending in {ending!r} in {folder / 'imagesTr'}")
    return Dataset(
        name=task.name or folder.name,
        channel_names=channel_names,
        labels=_labels(task, folder, description),
        num_training=_number(folder, description, len(cases)),
        cases=cases,
        file_ending=ending,
        licence=str(description.get("licence", description.get("license", ""))),
        reference=str(description.get("reference", "")),
    )


def _how_to_get(task: TaskSettings, data_root: Path) -> str:
    if not task.url:
        return f"; data_root is {data_root}, task.folder {task.folder or task.name}"
    choice = (task.name or task.folder or "").split("_")[0]
    return f"; fetch it with\n  python -m segfw download +task={choice} data_root={data_root}"


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(description, dict):
        raise DataError(f"{path} must hold an object, got {type(description).__name__}")
    return description


def _ending(folder: Path, description: dict[str, Any]) -> str:
    """Return the ending of image files: as declared, else that of the only kind of image in the folder."""
    if "file_ending" in description:
        return str(description["file_ending"])
    listed = description.get("training")
    names: Iterable[str] = _listed_names(folder, listed) if isinstance(listed, list) else _files(folder / "imagesTr")
    endings = sorted({ending_of(name) for name in names if _is_image(name)})
    if len(endings) != 1:
        raise DataError(
            f"{folder / 'imagesTr'} must hold images of one ending, found {endings}; state file_ending in dataset.json"
        )
    return endings[0]


def _channel_names(task: TaskSettings, folder: Path, description: dict[str, Any]) -> tuple[str, ...]:
    """Return names in the order in which they are written, the order of the normalization schemes (nnU-Net's)."""
    if task.channels:
        return task.channels
    declared = description.get("channel_names", description.get("modality"))
    if isinstance(declared, dict) and declared:
        return tuple(str(name) for name in declared.values())
    if task.modality:
        return (task.modality,)
    raise DataError(
        f"{folder / 'dataset.json'} names no channels (channel_names or modality); give task.channels=[CT] or the like"
    )


def _labels(task: TaskSettings, folder: Path, description: dict[str, Any]) -> LabelSet:
    declared = description.get("labels") if task.labels is None else task.labels
    place = "task.labels" if task.labels is not None else f"labels in {folder / 'dataset.json'}"
    if not isinstance(declared, dict) or not declared:
        raise DataError(f"{place} must map names to values, got {declared!r}; such as {{background: 0, liver: 1}}")
    if all(str(key).isdigit() and isinstance(value, str) for key, value in declared.items()):
        declared = {name: int(value) for value, name in declared.items()}
    values = {str(name): _label_value(name, value, place) for name, value in declared.items()}
    order = task.regions_class_order or _integers(
        description.get("regions_class_order"), f"regions_class_order of {folder}"
    )
    return LabelSet(values, order)


def _label_value(name: str, value: Any, place: str) -> int | tuple[int, ...]:
    if isinstance(value, list | tuple):
        return _integers(value, f"{name!r} of {place}") or ()
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{place}: the value of {name!r} must be an integer or a list of integers, got {value!r}")
    return value


def _integers(value: Any, place: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value or not all(type(item) is int for item in value):
        raise DataError(f"{place} must be a list of integers, got {value!r}")
    return tuple(value)


def _number(folder: Path, description: dict[str, Any], found: int) -> int:
    declared = description.get("numTraining", found)
    if type(declared) is not int or declared < 1:
        raise DataError(f"numTraining in {folder / 'dataset.json'} must be a number of cases, got {declared!r}")
    return declared


def _cases(
    task: TaskSettings, folder: Path, description: dict[str, Any], ending: str, num_channels: int
) -> tuple[Case, ...]:
    if "dataset" in description:
        cases = _listed_cases(folder, description["dataset"])
    elif isinstance(description.get("training"), list) and "file_ending" not in description:
        cases = _decathlon_cases(folder, description["training"], ending)
    else:
        cases = _scanned_cases(folder, folder / (task.label_folder or "labelsTr"), ending)
    if task.label_folder:
        cases = [
            Case(c.name, c.images, str(folder / task.label_folder / Path(c.label).name) if c.label else None)
            for c in cases
        ]
    _require_files(folder, cases)
    odd = [c for c in cases if len(c.images) not in (1, num_channels)]
    if odd:
        names = [f"{c.name} ({len(c.images)})" for c in odd]
        raise DataError(
            f"{folder}: each case needs {num_channels} image files (one per channel) or one that holds all channels; "
            f"{len(odd)} cases do not have them: {_some(names)}"
        )
    return tuple(cases)


def _listed_cases(folder: Path, listed: Any) -> list[Case]:
    """Return nnU-Net's explicit list `{case: {images: [...], label: ...}}`, environment variables replaced."""

    def place(path: str) -> str:
        return str(folder / os.path.expandvars(path))

    if not isinstance(listed, dict):
        raise DataError(f"dataset in {folder / 'dataset.json'} must map case names to files, got {listed!r}")
    cases = []
    for name, entry in listed.items():
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("images"), list)
            or not isinstance(entry.get("label"), str)
        ):
            raise DataError(
                f"dataset.{name} in {folder / 'dataset.json'} must be {{images: [...], label: ...}}, got {entry!r}"
            )
        cases.append(Case(str(name), tuple(place(image) for image in entry["images"]), place(entry["label"])))
    return cases


def _decathlon_cases(folder: Path, listed: list[Any], ending: str) -> list[Case]:
    cases = []
    for entry in listed:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
            raise DataError(
                f"training in {folder / 'dataset.json'} must list {{image: ..., label: ...}}, got {entry!r}"
            )
        name = Path(entry["image"]).name
        if not name.startswith((".", "_")):
            cases.append(Case(name.removesuffix(ending), (str(folder / entry["image"]),), str(folder / entry["label"])))
    return sorted(cases, key=lambda case: case.name)


def _scanned_cases(folder: Path, label_folder: Path, ending: str) -> list[Case]:
    """Group the files of imagesTr by case.

    A file name is the case's own where a label map has that name; else the four digits at its end are the channel's.
    """
    for needed in (folder / "imagesTr", label_folder):
        if not needed.is_dir():
            raise DataError(f"dataset {folder} has no folder {needed.name}")
    labels = {name.removesuffix(ending_of(name)): name for name in _files(label_folder) if _is_image(name)}
    labels.update({name.removesuffix(ending): name for name in _files(label_folder) if name.endswith(ending)})
    images: dict[str, list[str]] = defaultdict(list)
    for name in _files(folder / "imagesTr"):
        if name.endswith(ending):
            stem = name.removesuffix(ending)
            channel = None if stem in labels else CHANNEL_SUFFIX.fullmatch(stem)
            images[channel[1] if channel else stem].append(str(folder / "imagesTr" / name))
    return [
        Case(name, tuple(sorted(files)), str(label_folder / labels.get(name, name + ending)))
        for name, files in sorted(images.items())
    ]


def _require_files(folder: Path, cases: list[Case]) -> None:
    expected = [path for case in cases for path in (*case.images, *((case.label,) if case.label else ()))]
    missing = [path for path in expected if not Path(path).is_file()]
    if missing:
        names = _some(missing, separator="\n  ")
        raise DataError(f"dataset {folder}: {len(missing)} of {len(expected)} files are missing:\n  {names}")


def _some(names: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return separator.join(names[:LISTED]) + more


def _files(folder: Path) -> list[str]:
    """Return the names of the regular files of `folder`, hidden ones left out; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _listed_names(folder: Path, listed: list[Any]) -> list[str]:
    return [
        Path(entry["image"]).name for entry in listed if isinstance(entry, dict) and isinstance(entry.get("image"), str)
    ]


def _is_image(name: str) -> bool:
    return name.lower().endswith((*VOLUME_ENDINGS, *NATURAL_ENDINGS))
