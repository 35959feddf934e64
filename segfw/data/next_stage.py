"""What a fold hands to the next stage of a cascade: its segmentations of its validation cases, on that stage's grid.

    <case>.segmentation.npy  uint8, or uint16 from label 255 on, (d0, d1, d2) of the case as the next stage sees it
    manifest.json            what they were made from, and size, SHA-256 and shape of each; written last

One folder belongs to one fold, so that each case is segmented by a network that has not seen it. Plain npy for the
reason that `case_files` gives.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.support.conversion import changed_keys, to_plain
from segfw.core.support.files import sha256, write_text
from segfw.core.types import IntArray, Shape
from segfw.data.case_files import FORMAT, MANIFEST, Member, find_faults, load_manifest, write_member
from segfw.data.store import map_array

KIND = "segmentation"
REMEDY = "run the train stage of the previous configuration again"
Description = dict[str, Any]


@dataclass(frozen=True)
class SegmentedCase:
    """What the manifest says of one case."""

    members: dict[str, Member]
    shape: Shape

    def __post_init__(self) -> None:
        if set(self.members) != {KIND}:
            raise UsageError(f"members must be [{KIND!r}], got {sorted(self.members)}")


@dataclass(frozen=True)
class Segmentations:
    """The manifest of a fold's segmentations."""

    format: int
    description: Description
    cases: dict[str, SegmentedCase]


def save_segmentation(folder: Path, name: str, segmentation: IntArray) -> None:
    """Write one case's segmentation. A committed folder has to be committed again."""
    (folder / MANIFEST).unlink(missing_ok=True)
    write_member(_path(folder, name), segmentation)


def has_segmentation(folder: Path, name: str) -> bool:
    """Whether the case has been written; files are whole or absent."""
    return _path(folder, name).is_file()


def commit_segmentations(folder: Path, names: Iterable[str], description: Description) -> None:
    """Write the manifest over the cases `names`. `description` says what they were made from."""
    cases = {}
    for name in names:
        path = _path(folder, name)
        entry = Member(path.stat().st_size, sha256(path))
        cases[name] = SegmentedCase({KIND: entry}, map_array(path).shape)
    manifest = Segmentations(FORMAT, description, cases)
    write_text(folder / MANIFEST, json.dumps(to_plain(manifest), indent=1))


def is_committed(folder: Path, description: Description, names: Iterable[str] = ()) -> bool:
    """Whether the folder is complete, was made from what `description` says, and holds the cases `names`."""
    try:
        return set(names) <= set(_load(folder, description))
    except ArtefactError:
        return False


class PreviousStage:
    """Segmentations by the previous stage, of which each case is in the folder of one fold; mapped when asked for."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)

    @classmethod
    def open(cls, folders: Mapping[Path, Description], shapes: Mapping[str, Shape]) -> "PreviousStage":
        """Open the folders of the folds; `folders`: folder -> what it must have been made from.

        `shapes`: of each case that is needed, as the next stage sees it. A case that several folds have is the first
        one's. Raises `ArtefactError` for a folder that is incomplete or made from something else, for a case that no
        fold has, and for one of another shape.
        """
        return cls._of({folder: _load(folder, made_from) for folder, made_from in folders.items()}, shapes)

    @classmethod
    def reopen(cls, folders: Mapping[Path, str], shapes: Mapping[str, Shape]) -> "PreviousStage":
        """Open folders as a run has noted them; `folders`: folder -> SHA-256 of its manifest. Raises like `open`."""
        for folder, noted in folders.items():
            if (found := hash_of(folder)) != noted:
                raise ArtefactError(f"{folder} has changed: its manifest's SHA-256 is {found}, it was {noted}")
        return cls._of({folder: _load(folder, None) for folder in folders}, shapes)

    @classmethod
    def _of(cls, folders: Mapping[Path, Mapping[str, SegmentedCase]], shapes: Mapping[str, Shape]) -> "PreviousStage":
        files: dict[str, Path] = {}
        found: dict[str, Shape] = {}
        for folder, cases in folders.items():
            for name, entry in cases.items():
                files.setdefault(name, _path(folder, name))
                found.setdefault(name, entry.shape)
        missing = sorted(set(shapes) - set(files))
        if missing:
            raise ArtefactError(
                f"{len(missing)} cases have no segmentation of the previous stage, such as {missing[:3]}: train every "
                "fold of it (each case is segmented by the fold that validates it)"
            )
        for name, shape in shapes.items():
            if found[name] != tuple(shape):
                raise ArtefactError(f"{files[name]} has shape {found[name]}, the case has {tuple(shape)}; {REMEDY}")
        return cls({name: files[name] for name in shapes})

    def segmentation(self, name: str) -> NDArray[np.unsignedinteger[Any]]:
        """Return the label map (d0, d1, d2) of case `name`, read-only; `UsageError` if there is none."""
        if name not in self._files:
            raise UsageError(f"there is no segmentation of case {name!r} by the previous stage, of {len(self._files)}")
        return map_array(self._files[name])


def hash_of(folder: Path) -> str:
    """Return the SHA-256 of a folder's manifest, which has those of the files; empty where there is none."""
    path = folder / MANIFEST
    return sha256(path) if path.is_file() else ""


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.{KIND}.npy"


def _load(folder: Path, description: Description | None) -> dict[str, SegmentedCase]:
    """Return the manifest's cases after checking the files' sizes and, if given, what they were made from."""
    manifest = load_manifest(Segmentations, folder, str(folder), REMEDY)
    if description is not None and (changed := changed_keys(manifest.description, description)):
        raise ArtefactError(f"{folder} is stale ({', '.join(changed)} changed since); {REMEDY}")
    for name, case in manifest.cases.items():
        if faults := find_faults(folder, {_path(folder, name).name: case.members[KIND]}):
            raise ArtefactError(f"{folder}, case {name!r}: {'; '.join(faults)}; {REMEDY}")
    return manifest.cases
