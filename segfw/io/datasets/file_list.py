"""Datasets as lists of files, wherever these lie: a CSV table, or YAML that says what the dataset is as well.

CSV: columns `case` (optional), `image` or several that begin with `image` (one per channel, in order; `image_T2` names
its channel; `image_id`, of numbers, is none), `label`; whatever else there is goes to `Case.table`. YAML: a mapping
with `cases` and the keys of dataset.json, or a plain list of `{case, image, label}`. Relative paths are relative to the
list's folder.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segfw.core.cases.dataset import Case, Dataset, has_controls, is_unicode
from segfw.core.errors import DataError
from segfw.core.support.addresses import bare
from segfw.core.support.conversion import nearest, to_plain
from segfw.core.support.files import write_text
from segfw.io.datasets.tables import Table, beside, read_table, table_text
from segfw.io.datasets.yaml_text import load_typed_and_text
from segfw.io.formats.endings import ending_of, is_known

ENDINGS = (".csv", ".yaml", ".yml")
DESCRIPTION_KEYS = (
    *("channel_names", "channels", "modality", "labels", "regions", "regions_class_order", "remap", "normalization"),
    *("window", "numTraining", "file_ending", "licence", "license", "reference", "name", "description", "release"),
)
MISSPELT = 0.8  # likeness of a word such as lable to a known one; those of age, race and phase are below
NO_LABEL = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class FileList:
    """What a list holds: cases, names of channels that a table's header gives, and (YAML) the dataset's description.

    `description` is None where the list states cases only.
    """

    cases: tuple[Case, ...]
    channel_names: tuple[str, ...] = ()
    description: dict[str, Any] | None = None


def is_file_list(path: Path) -> bool:
    """Whether the name is that of a list of files."""
    return path.suffix.lower() in ENDINGS


def read_file_list(path: Path) -> FileList:
    """Read a list of files, which need not exist. `DataError` names the row or case and the column or key at fault."""
    return _read_csv(path) if path.suffix.lower() == ".csv" else _read_yaml(path)


def write_file_list(path: Path, cases: Sequence[Case], channel_names: Sequence[str] = ()) -> None:
    """Write cases as CSV with absolute paths; `channel_names` name the image columns where a case has several files.

    `DataError` for cases with different numbers of files and for what a cell or a column cannot hold.
    """
    counts = {len(case.images) for case in cases}
    if len(counts) != 1:
        raise DataError(f"{path}: every case in a list needs the same number of image files, got {sorted(counts)}")
    (count,) = counts
    names = channel_names if len(channel_names) == count else [str(number) for number in range(count)]
    images = ["image"] if count == 1 else [f"image_{name}" for name in names]
    others = list(dict.fromkeys(key for case in cases for key in case.table))
    columns = ["case", *images, "label", *others]
    rows = [[case.name, *_absolute(case), *(case.table.get(key, "") for key in others)] for case in cases]
    _refuse_columns(path, others)
    for row in (columns, *rows):
        _refuse_text(path, row[0], row)
    write_text(path, table_text(columns, rows))


def write_task_list(path: Path, dataset: Dataset) -> None:
    """Write a dataset as YAML, description and cases, so that `task.folder` can name the file; absolute paths.

    Labels are written with the values in the files. `DataError` for what would not be read back.
    """
    window = dataset.window
    plain = {
        "channel_names": list(dataset.channel_names),
        "labels": {name: _in_files(value, dataset.remap) for name, value in dataset.labels.values.items()},
        "regions_class_order": _in_files(dataset.labels.regions_class_order, dataset.remap),
        "remap": dict(dataset.remap) or None,
        "normalization": list(dataset.normalization) or None,
        "window": None if window is None else to_plain(window),
        "numTraining": dataset.num_training,
        "file_ending": dataset.file_ending,
        "licence": dataset.licence or None,
        "reference": dataset.reference or None,
    }
    content = {key: value for key, value in plain.items() if value is not None}
    content["cases"] = {case.name: _entry(path, case) for case in dataset.cases}
    renumbering = "; remap says what becomes of them" if dataset.remap else ""
    text = f"# What the dataset is, and its files; label values are those in the files{renumbering}.\n"
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=2**16, default_flow_style=None)
    write_text(path, text)


def _read_csv(path: Path) -> FileList:
    table = read_table(path, lambda name: name in ("case", "label") or name.startswith("image"))
    images = _image_columns(path, table)
    if not images:
        raise DataError(f"{path}: there is no column image (or image_T1, image_T2, ...), only {list(table.columns)}")
    if not table.rows:
        raise DataError(f"{path} lists no case, only the columns {list(table.columns)}")
    _refuse_misspelt(f"{path}: column", table.columns, ("case", "label"))
    cases: dict[str, tuple[int, Case]] = {}
    for number, row in table.rows:
        empty = [column for column in images if not row[column]]
        if empty:
            raise DataError(f"{path}, row {number}, column {empty[0]}: no file is named")
        files = tuple(beside(path, row[column]) for column in images)
        name = row.get("case") or _name_of(files[0])
        label = beside(path, row["label"]) if row.get("label") else None
        others = {key: text for key, text in row.items() if key not in ("case", "label", *images)}
        if name in cases:
            remedy = "" if row.get("case") else " (from the image's name); name the cases in a column case"
            raise DataError(f"{path}, rows {cases[name][0]} and {number}: both are called {name!r}{remedy}")
        cases[name] = number, Case(name, files, label, others)
    named = [column.removeprefix("image_") for column in images if re.fullmatch(r"image_(?!\d+$).+", column)]
    channels = tuple(named) if len(named) == len(images) else ()
    return FileList(tuple(case for _, case in cases.values()), channels)


def _image_columns(path: Path, table: Table) -> list[str]:
    """Return the columns that name images: those that begin so, but for such as image_id, which hold no files.

    Where none holds what looks like a file, all are returned, so that what is missing is named.
    """
    named = [column for column in table.columns if column.startswith("image")]
    files = [column for column in named if _may_be_files(path, table, column)]
    return [column for column in named if column in files or not column.startswith("image_")] if files else named


def _may_be_files(path: Path, table: Table, column: str) -> bool:
    """Whether a column is empty or holds a path: a known ending, a folder's separator, or a name that exists."""
    texts = [row[column] for _, row in table.rows if row[column]]
    return not texts or any(
        is_known(text) or "/" in text or os.sep in text or (path.parent / text).exists() for text in texts
    )


def _read_yaml(path: Path) -> FileList:
    content, text = load_typed_and_text(path)
    description = None
    place = str(path)
    if isinstance(content, dict):
        for key in content:
            if key not in (*DESCRIPTION_KEYS, "cases"):
                raise DataError(f"{path}: unknown key {key!r}{nearest(str(key), (*DESCRIPTION_KEYS, 'cases'))}")
        description = {key: value for key, value in content.items() if key != "cases"}
        text, place = text.get("cases"), f"{path}: cases"
    if isinstance(text, dict):
        entries = list(text.items())
    elif isinstance(text, list):
        entries = [(None, entry) for entry in text]
    else:
        raise DataError(f"{place} must map names to {{image: ..., label: ...}} or list such entries, got {text!r}")
    cases = [_case(path, place, number, name, entry) for number, (name, entry) in enumerate(entries, 1)]
    if not cases:
        raise DataError(f"{path} lists no case")
    return FileList(tuple(cases), (), description)


def _case(path: Path, place: str, number: int, name: str | None, entry: Any) -> Case:
    """Read one entry of a YAML list, all of whose scalars are text."""
    where = f"{place}[{number}]" if name is None else f"{place}.{name}"
    if not isinstance(entry, dict):
        raise DataError(f"{where} must be {{image: ..., label: ...}}, got {entry!r}")
    stated = [entry[key] for key in ("image", "images") if key in entry]
    images = [stated[0]] if len(stated) == 1 and isinstance(stated[0], str) else (stated or [None])[0]
    if len(stated) != 1 or not isinstance(images, list) or not _are_texts(images):
        raise DataError(f"{where} needs image: FILE or images: [FILE, ...] (one per channel), got {entry!r}")
    label = entry.get("label", "")
    others = {key: value for key, value in entry.items() if key not in ("case", "image", "images", "label")}
    for key, value in {"label": label, "case": entry.get("case", ""), **others}.items():
        if not isinstance(value, str):
            raise DataError(f"{where}.{key} must be one word, number or path, got {value!r}")
    _refuse_misspelt(f"{where}: column", entry, ("label",) if name is not None else ("case", "label"))
    if name is not None and "case" in entry:
        raise DataError(f"{where} is named {name!r} already, so it takes no case: {entry['case']!r}")
    files = tuple(beside(path, image) for image in images)
    return Case(
        name=name if name is not None else entry.get("case") or _name_of(files[0]),
        images=files,
        label=None if label in NO_LABEL else beside(path, label),
        table=others,
    )


def _are_texts(values: Iterable[Any]) -> bool:
    values = list(values)
    return bool(values) and all(isinstance(value, str) and value for value in values)


def _name_of(image: str) -> str:
    """Name a case after its first image: the file's name without its ending and channel."""
    name = Path(bare(image)).name
    try:
        name = name.removesuffix(ending_of(name))
    except DataError:  # a folder of one DICOM series, or a format that reading will refuse
        name = Path(bare(image)).name
    return name.removesuffix("_0000") or name


def _absolute(case: Case) -> list[str]:
    return [*map(os.path.abspath, case.images), os.path.abspath(case.label) if case.label else ""]


def _entry(path: Path, case: Case) -> dict[str, Any]:
    wrong = [key for key in case.table if key in ("case", "image", "images", "label") or not key]
    if wrong:
        raise DataError(f"{path}: case {case.name}: a column of the table cannot be called {wrong[0]!r}")
    *images, label = _absolute(case)
    _refuse_text(path, case.name, (*images, label, *case.table, *case.table.values()))
    entry = {"images": images, **({"label": label} if label else {}), **case.table}
    _refuse_misspelt(f"{path}: case {case.name}: column", entry, ("label",))
    return entry


def _in_files(value: int | tuple[int, ...] | None, remap: dict[int, int]) -> Any:
    """Return the value or values that the label files hold for those of the dataset.

    The background, which every file holds, stays 0 where it may; of other values that `remap` makes, one that it
    names is in the files, while the value itself need not be.
    """
    if value is None:
        return None
    if isinstance(value, tuple):
        return [_in_files(member, remap) for member in value]
    named = sorted(old for old, new in remap.items() if new == value)
    if value not in remap and (value == 0 or not named):
        return value
    if not named:
        raise DataError(f"no value in the files becomes {value}: remap {remap} gives it away")
    return named[0]


def _refuse_misspelt(where: str, columns: Iterable[str], optional: Sequence[str]) -> None:
    """Raise `DataError` for a column that is all but called as an optional one which is not there."""
    columns = list(columns)
    absent = [name for name in optional if name not in columns]
    for column in columns:
        if meant := nearest(column.lower(), absent, MISSPELT):
            raise DataError(f"{where} {column!r} means nothing{meant} One of your own needs another name, own_{column}")


def _refuse_columns(path: Path, others: Sequence[str]) -> None:
    for column in others:
        if column in ("case", "label") or column.startswith("image"):
            raise DataError(f"{path}: a further column cannot be called {column!r}, it would be read as a file")


def _refuse_text(path: Path, case: str, texts: Iterable[str]) -> None:
    """Raise `DataError` for text that reading would change: blanks at its ends, line breaks, control characters."""
    for text in texts:
        if text != text.strip() or has_controls(text) or not is_unicode(text):
            raise DataError(f"{path}: a list of files cannot hold {text!r} (case {case})")
