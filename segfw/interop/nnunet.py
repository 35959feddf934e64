"""nnU-Net v2's JSON files: dataset description, fingerprint and plans, read and written.

A plans file does not say what the channels and labels are; the dataset description beside it does.
"""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import ArtefactError, DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, Plan
from segfw.core.planning.checks import check_plan
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import write_text
from segfw.interop.nnunet_configurations import configurations_from_json, configurations_to_json
from segfw.interop.nnunet_entries import entry_of

PLANS_NAMES = {
    "default": "nnUNetPlans",
    "resenc_m": "nnUNetResEncUNetMPlans",
    "resenc_l": "nnUNetResEncUNetLPlans",
    "resenc_xl": "nnUNetResEncUNetXLPlans",
}
PLANNER_CLASSES = {
    "default": "ExperimentPlanner",
    "resenc_m": "nnUNetPlannerResEncM",
    "resenc_l": "nnUNetPlannerResEncL",
    "resenc_xl": "nnUNetPlannerResEncXL",
}
READERS = {
    ".png": "NaturalImage2DIO",
    ".bmp": "NaturalImage2DIO",
    ".tif": "NaturalImage2DIO",
    ".tiff": "Tiff3DIO",
    ".nii": "NibabelIO",
}
LABEL_MANAGER = "LabelManager"
_COPIED_KEYS = (
    "dataset_name",
    "original_median_spacing_after_transp",
    "original_median_shape_after_transp",
    "transpose_forward",
    "transpose_backward",
)
STATISTICS_KEYS = ("foreground_intensity_properties_per_channel", "foreground_intensity_properties_by_modality")


def read_dataset_json(path: str | Path) -> Dataset:
    """Read a `dataset.json`: what the dataset is, without its cases. `DataError` names the file and what is wrong."""
    path = _as_path(path)
    return dataset_from_json(_read_object(path), path.resolve().parent.name, str(path))


def dataset_from_json(content: dict[str, Any], name: str, place: str) -> Dataset:
    """Return the dataset that the content of a `dataset.json` describes.

    `name`: for a dataset that states none; `place`: the file, for messages.
    """
    named = "modality" if content.get("channel_names") is None and "modality" in content else "channel_names"
    _require(content, (named, "labels", "numTraining"), place)
    channels = content[named]
    if not isinstance(channels, dict | list):
        raise DataError(f"{place}: {named} must map indices to names, got {channels!r}")
    names = channels.values() if isinstance(channels, dict) else channels
    labels = {"values": content["labels"], "regions_class_order": content.get("regions_class_order")}
    try:
        return Dataset(
            name=str(content.get("name") or name),
            channel_names=tuple(str(name) for name in names),
            labels=from_plain(LabelSet, labels, "labels"),
            num_training=_count(from_plain(int, content["numTraining"], "numTraining"), "numTraining"),
            file_ending=str(content.get("file_ending", ".nii.gz")),
            licence=str(content.get("licence") or content.get("license") or ""),
            reference=str(content.get("reference") or ""),
        )
    except (UsageError, DataError) as error:
        raise DataError(f"{place}: {error}") from error


def read_fingerprint(path: str | Path) -> Fingerprint:
    """Read a `dataset_fingerprint.json`; `DataError` names the file and the key at fault."""
    path = _as_path(path)
    content = _read_object(path)
    keys = ("spacings", "shapes_after_crop", "median_relative_size_after_cropping")
    _require(content, (*keys, STATISTICS_KEYS[0]), path)
    try:
        plain = {key: content[key] for key in keys} | {"intensities": _statistics(content[STATISTICS_KEYS[0]])}
        return from_plain(Fingerprint, plain)
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error


def write_fingerprint(fingerprint: Fingerprint, path: str | Path) -> None:
    """Write a `dataset_fingerprint.json`, which nnU-Net's training wants beside a plans file."""
    content = {
        "spacings": to_plain(fingerprint.spacings),
        "shapes_after_crop": to_plain(fingerprint.shapes_after_crop),
        STATISTICS_KEYS[0]: {str(index): to_plain(entry) for index, entry in enumerate(fingerprint.intensities)},
        "median_relative_size_after_cropping": fingerprint.median_relative_size_after_cropping,
    }
    write_text(Path(path), json.dumps(content, indent=4))


def read_plans(path: str | Path, dataset: Dataset | None = None) -> Plan:
    """Read a plans file, of older versions too.

    `dataset`: None reads the `dataset.json` beside the file. A plan says what is trained on, not where nnU-Net keeps
    it: `plans_name`, `data_identifier` and `image_reader_writer` are not kept, and `write_plans` writes those that
    nnU-Net's own planner of that name would. So data that nnU-Net preprocessed for another plan are never taken for
    this one's by its name. Raises `ArtefactError` for what this package has no equivalent of, such as another
    resampling function, and for what has not a plans file's form, naming the place.
    """
    path = _as_path(path)
    content = _read_object(path)
    if dataset is None:
        beside = path.with_name("dataset.json")
        if not beside.is_file():
            raise ArtefactError(f"{path} does not name its labels: put {beside.name} beside it or pass `dataset`")
        dataset = read_dataset_json(beside)
    if not isinstance(dataset, Dataset):
        raise UsageError(f"dataset must be a Dataset, as read_dataset_json returns it, got {type(dataset).__name__}")
    return plans_from_json(content, dataset, str(path))


def plans_from_json(content: dict[str, Any], dataset: Dataset, place: str) -> Plan:
    """Return the plan that the content of a plans file holds for `dataset`; `place`: the file, for messages."""
    try:
        return _plan(content, dataset)
    except (UsageError, ArtefactError) as error:
        raise ArtefactError(f"{place}: {error}") from error


def write_plans(plan: Plan, path: str | Path, file_ending: str = ".nii.gz") -> None:
    """Write a plans file that nnU-Net accepts; `scripts/interop_check.py` shows it.

    nnU-Net looks for the file as `<plans_name>.json` in the preprocessed folder of `plan.dataset_name`, which must have
    the form `Dataset123_Name`. The names in the file follow from `plan.planner`; a planner of one's own gives its own
    to all of them. `file_ending`: of the images, decides the reader it will use. `UsageError` for what is no plan or
    no place for a file.
    """
    if not isinstance(plan, Plan):
        raise UsageError(f"plan must be a Plan, as make_plan and read_plans return it, got {type(plan).__name__}")
    path = _as_path(path)
    if path.is_dir():
        raise UsageError(f"path must be the plans file to write, {path} is a folder")
    write_text(path, json.dumps(plans_to_json(plan, file_ending), indent=4))


def plans_to_json(plan: Plan, file_ending: str = ".nii.gz") -> dict[str, Any]:
    """Return the content of a plans file, keys in nnU-Net's order."""
    return {
        "dataset_name": plan.dataset_name,
        "plans_name": PLANS_NAMES.get(plan.planner, plan.planner),
        "original_median_spacing_after_transp": list(plan.original_median_spacing_after_transp),
        "original_median_shape_after_transp": list(plan.original_median_shape_after_transp),
        "image_reader_writer": READERS.get(file_ending.lower(), "SimpleITKIO"),
        "transpose_forward": list(plan.transpose_forward),
        "transpose_backward": list(plan.transpose_backward),
        "configurations": configurations_to_json(plan.configurations, PLANS_NAMES.get(plan.planner, plan.planner)),
        "experiment_planner_used": PLANNER_CLASSES.get(plan.planner, plan.planner),
        "label_manager": LABEL_MANAGER,
        STATISTICS_KEYS[0]: {str(index): to_plain(entry) for index, entry in enumerate(plan.intensities)},
    }


def parse_object(text: bytes, place: str) -> dict[str, Any]:
    """Return the JSON object that `text` spells; `DataError` names its `place` if it is none."""
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{place} must hold a JSON object, got {type(content).__name__}")
    return content


def _as_path(path: Any) -> Path:
    if not isinstance(path, str | PathLike):
        raise UsageError(f"path must be text or a Path, got {type(path).__name__}: {path!r}")
    return Path(path)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return parse_object(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _require(content: dict[str, Any], keys: tuple[str, ...], place: str | Path) -> None:
    missing = [key for key in keys if content.get(key) is None]
    if missing:
        given = sorted(key for key, value in content.items() if value is not None)
        raise DataError(f"{place}: the keys {missing} are missing or null; it has {given}")


def _count(number: int, key: str) -> int:
    if number < 0:
        raise DataError(f"{key} must be a number of cases, got {number}")
    return number


def _statistics(content: Any) -> list[Any]:
    """List the statistics of channels 0, 1, ..., whatever order the file has them in."""
    if not isinstance(content, dict) or sorted(content) != sorted(str(index) for index in range(len(content))):
        raise UsageError(f"{STATISTICS_KEYS[0]} must map 0, 1, ... to statistics, got {content!r}")
    return [content[str(index)] for index in range(len(content))]


def _plan(content: dict[str, Any], dataset: Dataset) -> Plan:
    planners = {name: planner for planner, name in PLANNER_CLASSES.items()}
    used = from_plain(
        str, content.get("experiment_planner_used") or entry_of(content, "plans_name"), "experiment_planner_used"
    )
    label_manager = content.get("label_manager")
    if label_manager not in (None, LABEL_MANAGER):
        raise ArtefactError(f"label_manager: no equivalent of {label_manager!r}; known: {LABEL_MANAGER!r}")
    statistics = next((content[key] for key in STATISTICS_KEYS if key in content), None)
    plain = {key: entry_of(content, key) for key in _COPIED_KEYS}
    plan = from_plain(
        Plan,
        {
            **plain,
            "planner": planners.get(used, used),
            "channel_names": dataset.channel_names,
            "labels": to_plain(dataset.labels),
            "intensities": _statistics(statistics),
            "configurations": configurations_from_json(entry_of(content, "configurations", dict)),
        },
    )
    check_plan(plan)
    return plan
