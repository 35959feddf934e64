"""Dataset folders to `Dataset` values: the Medical Segmentation Decathlon's layout, nnU-Net v2's, and lists of files.

A Decathlon folder lists its cases under `training` in dataset.json, one file per case, which may hold several
channels. An nnU-Net v2 folder holds `imagesTr/<case>_<channel, four digits><ending>` and `labelsTr/<case><ending>`,
or lists files under `dataset`. A CSV or YAML list names files wherever they are; it may lie in a folder of its own.
What the task's settings state overrides what the folder or the list states, but for `task.modality`, which only
names channels that nothing else names.
"""

import logging
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from segfw.core.cases.dataset import Case, Dataset, check_case_name
from segfw.core.cases.description import (
    READER,
    Description,
    stated_channels,
    stated_labels,
    stated_normalization,
    stated_number,
    stated_window,
    unused_modality,
    unused_reader,
)
from segfw.core.cases.modality import channel_schemes
from segfw.core.errors import DataError, UsageError
from segfw.core.settings.schema import TaskSettings
from segfw.core.support.addresses import DATA_CACHE, address_of
from segfw.core.support.files import looked_for
from segfw.core.support.strict_json import load_strict_json
from segfw.io.datasets.case_files import (
    INDENTED,
    check_counts,
    decathlon_cases,
    find_images,
    found_cases,
    image_names,
    listed_cases,
    names_in,
    some,
)
from segfw.io.datasets.file_list import is_file_list, read_file_list
from segfw.io.datasets.listing import is_image
from segfw.io.formats.readers import ending_of
from segfw.io.remote.arrival import mirrored_cases
from segfw.io.remote.listing import forget, outline, states_of

log = logging.getLogger(__name__)

JSON_KEYS = (
    *("channel_names", "modality", "labels", "regions_class_order", "numTraining", "file_ending"),
    *("licence", "license", "reference", "dataset", "training", READER),
)
REPAIRED = "repaired_"
"""Beginning of the names of lists that verification writes; they lie beside the list that they replace."""
DEFAULT_ENDING = ".nii.gz"


def dataset_folder(task: TaskSettings, data_root: Path) -> Path:
    """Return where the dataset of `task` lies: `task.folder` (else `task.name`), under `data_root` or absolute."""
    folder = task.folder or task.name
    if not folder:
        raise UsageError("no dataset is named; give +task=NAME, or task.name=NAME task.folder=FOLDER")
    return data_root / folder


def read_dataset(task: TaskSettings, data_root: Path, data_cache: str = DATA_CACHE) -> Dataset:
    """Read what the dataset of `task` is and which files its training cases should have; these need not exist.

    Cases are sorted by name, except that an explicit list keeps its order. Raises `DataError` for a missing folder
    (with the command that fetches it) and a description that is incomplete or wrong, `UsageError` for settings that
    are. See `require_files` and `missing_files`. Files at addresses are paths below `data_cache`, fetched when read.
    """
    forget()
    place = dataset_folder(task, data_root)
    if address_of(place) is None:
        return _read(task, data_root, data_cache)
    with outline(place) as shown:
        dataset = _read(replace(task, folder=str(shown.place)), data_root, data_cache)
        return replace(dataset, cases=shown.mirrored_cases(dataset.cases))


def _read(task: TaskSettings, data_root: Path, data_cache: str) -> Dataset:
    place, file_list = _find_layout(task, data_root)
    labels = _label_folder(task, place)
    dataset, description = _from_list(task, file_list, data_cache) if file_list else _from_folder(task, place, labels)
    if labels is not None:
        cases = tuple(_with_label_in(labels, case) for case in dataset.cases)
        dataset = replace(dataset, cases=cases)
    channel_schemes(dataset)
    for warning in (unused_modality(description, dataset.channel_names), unused_reader(description)):
        if warning:
            log.warning("%s", warning)
    return dataset


def missing_files(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Return the files (or folders of DICOM series) that are not there: case -> paths, cases without any left out.

    Pipes and devices are no files: what is read of them may never come, or never end.
    """
    paths = [path for case in dataset.cases for path in case.files]
    there = states_of(paths).keys() | {path for path in paths if address_of(path) is None and _is_there(path)}
    missing = {case.name: tuple(path for path in case.files if path not in there) for case in dataset.cases}
    return {name: paths for name, paths in missing.items() if paths}


def _is_there(path: str) -> bool:
    return os.path.isfile(path) or os.path.isdir(path)


def require_files(dataset: Dataset) -> None:
    """Raise `DataError` that names up to ten missing files, if any are."""
    missing = [path for paths in missing_files(dataset).values() for path in paths]
    if missing:
        expected = sum(len(case.files) for case in dataset.cases)
        names = some(missing, separator=INDENTED)
        raise DataError(f"dataset {dataset.name}: {len(missing)} of {expected} files are missing:{INDENTED}{names}")


def orphan_labels(task: TaskSettings, data_root: Path, dataset: Dataset) -> tuple[str, ...]:
    """Return label maps beside the others that belong to no case of the task's dataset, as it was read.

    None for explicit lists, which may leave some out.
    """
    place, used = dataset_folder(task, data_root), {case.label for case in dataset.cases}
    if address_of(place) is None:
        found = _label_maps(task, data_root)
    else:
        with outline(place) as shown:
            found = list(shown.mirrored(_label_maps(replace(task, folder=str(shown.place)), data_root)).values())
    return tuple(path for path in found if path not in used)


def _label_maps(task: TaskSettings, data_root: Path) -> list[str]:
    """Return the label maps of a folder layout; none of explicit lists."""
    place, file_list = _find_layout(task, data_root)
    if file_list or "dataset" in _description(place):
        return []
    folder = _label_folder(task, place) or place / "labelsTr"
    return [str(folder / name) for name in names_in(folder) if is_image(Path(name))]


def _find_layout(task: TaskSettings, data_root: Path) -> tuple[Path, Path | None]:
    """Return the folder of the dataset (or the list that was named), and the list of files if it is one."""
    place = dataset_folder(task, data_root)
    if is_file_list(place) and not place.is_dir():
        if not place.is_file():
            raise DataError(f"there is no list of files {looked_for(place)}{_how_to_get(task, data_root)}")
        return place, place
    if not place.is_dir():
        raise DataError(f"there is no dataset folder {looked_for(place)}{_how_to_get(task, data_root)}")
    if (place / "imagesTr").is_dir() or {"training", "dataset"} & set(_description(place)):
        return place, None
    lists = [name for name in names_in(place) if is_file_list(Path(name)) and not name.startswith(REPAIRED)]
    if len(lists) > 1:
        raise DataError(f"{place} holds several lists of files: {some(lists)}; name one as task.folder")
    return place, place / lists[0] if lists else None


def _label_folder(task: TaskSettings, place: Path) -> Path | None:
    """Return `task.label_folder`, under the dataset's folder or absolute; `UsageError` if there is none such."""
    if not task.label_folder:
        return None
    base = place.parent if place.is_file() else place
    folder = base / task.label_folder
    if not folder.is_dir():
        there = sorted(path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))
        raise UsageError(
            f"task.label_folder: there is no folder {looked_for(folder)}; {base} holds {some(there) or 'none'}"
        )
    return folder


def _how_to_get(task: TaskSettings, data_root: Path) -> str:
    if not task.url:
        return f"; data_root is {data_root}, task.folder {task.folder or task.name}"
    choice = (task.name or task.folder or "").split("_")[0]
    return f"; fetch it with\n  python -m segfw download +task={choice} data_root={shlex.quote(str(data_root))}"


def _description(folder: Path) -> dict[str, Any]:
    """Return the keys of dataset.json that mean something, none where there is no such file."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        description = load_strict_json(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(description, dict):
        raise DataError(f"{path} must hold an object, got {type(description).__name__}")
    return {key: value for key, value in description.items() if key in JSON_KEYS}


def _from_list(task: TaskSettings, path: Path, data_cache: str) -> tuple[Dataset, Description]:
    """Read a list; one that says nothing but the files is described by the dataset.json beside it, if there is one."""
    listed = read_file_list(path)
    beside = path.with_name("dataset.json")
    if listed.description is not None:
        description = Description(task, listed.description, str(path))
    else:
        described = _description(path.parent)
        description = Description(task, described, str(beside if described else path))
    channels = stated_channels(description, listed.channel_names, max(len(case.images) for case in listed.cases))
    cases = list(mirrored_cases(listed.cases, data_cache))
    check_counts(path, cases, len(channels))
    ending = str(description.content.get("file_ending") or _common_ending(cases))
    return _dataset(description, path, channels, cases, ending), description


def _from_folder(task: TaskSettings, folder: Path, labels: Path | None) -> tuple[Dataset, Description]:
    content = _description(folder)
    description = Description(task, content, str(folder / "dataset.json"))
    ending = _ending(folder, content)
    if "dataset" in content:
        cases = listed_cases(folder, content["dataset"])
    elif isinstance(content.get("training"), list) and "file_ending" not in content:
        cases = decathlon_cases(folder, content["training"], ending)
    else:
        found = find_images(folder, labels or folder / "labelsTr", ending)
        channels = stated_channels(description, num_files=found.highest_channel + 1)
        return _dataset(description, folder, channels, found_cases(found, len(channels)), ending), description
    channels = stated_channels(description, num_files=max((len(case.images) for case in cases), default=1))
    check_counts(folder, cases, len(channels))
    return _dataset(description, folder, channels, cases, ending), description


def _dataset(
    description: Description, place: Path, channels: tuple[str, ...], cases: list[Case], ending: str
) -> Dataset:
    """Return the dataset at `place`, its folder or the list of its files."""
    if not cases:
        folder = Path(description.file).parent
        raise DataError(f"{folder} holds no training case: no image ending in {ending!r} in {folder / 'imagesTr'}")
    labels, remap = stated_labels(description)
    content = description.content
    for case in cases:
        try:
            check_case_name(case.name)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
    return Dataset(
        name=description.task.name or (place.name if place.is_dir() else place.stem),
        channel_names=channels,
        labels=labels,
        num_training=stated_number(description, len(cases)),
        cases=tuple(cases),
        file_ending=ending,
        licence=str(content.get("licence", content.get("license", ""))),
        reference=str(content.get("reference", "")),
        remap=remap,
        normalization=stated_normalization(description),
        window=stated_window(description),
    )


def _ending(folder: Path, content: dict[str, Any]) -> str:
    """Return the ending of image files: as declared, else that of the only kind of image in the folder.

    Where images are folders of DICOM series, it is that of the label maps.
    """
    if "file_ending" in content:
        return str(content["file_ending"])
    listed = content.get("training")
    if isinstance(listed, list):
        entries = [entry.get("image") for entry in listed if isinstance(entry, dict)]
        names = [Path(image).name for image in entries if isinstance(image, str)]
    else:
        names = image_names(folder / "imagesTr", "") or names_in(folder / "labelsTr")
    endings = sorted({ending_of(name) for name in names if is_image(Path(name))})
    if not endings and names:
        endings = sorted({ending_of(name) for name in names_in(folder / "labelsTr") if is_image(Path(name))})
    if not endings and not content:
        raise DataError(
            f"{folder} is no dataset: it holds neither dataset.json, nor images in imagesTr, nor one CSV or YAML list "
            "of files. Loose files become one with\n"
            f"  python -m segfw init images={shlex.quote(str(folder))} labels=FOLDER name=NAME"
        )
    if len(endings) != 1:
        raise DataError(
            f"{folder / 'imagesTr'} must hold images of one ending, found {endings}; state file_ending in dataset.json"
        )
    return endings[0]


def _common_ending(cases: list[Case]) -> str:
    """Return the ending of a list's first label map or image that has a known one."""
    for path in (path for case in cases for path in (case.label or "", *case.images)):
        if is_image(Path(path)):
            return ending_of(path)
    return DEFAULT_ENDING


def _with_label_in(folder: Path, case: Case) -> Case:
    return replace(case, label=str(folder / Path(case.label).name)) if case.label else case
