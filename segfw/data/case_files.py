"""Writing preprocessed cases to disk, in files laid out so that a patch is read without reading the case.

    <case>.image.npy      float32 (C, d0, d1, d2)
    <case>.label.npy      int8, or int16 from label 128 on, (1, d0, d1, d2); absent for a case without a label map
    <case>.locations.npy  int32 (int64 from 2**31 voxels on): flat C-order voxel indices, key after key
    <case>.record.json    the case's geometry, the keys of its locations, size and SHA-256 of the members, and what the
                          case was made from; written last
    manifest.json         how the store was made and every case's files; written when all cases are there

Plain npy, because memory-mapped it is by far the fastest to cut patches from (scripts/benchmarks/store.py, warm, one
thread, patches of 128 x 128 x 128 and of 40 x 56 x 40): blosc2 takes 4 to 11 times the processor time with LZ4 and 7 to
17 times with zstd, and saves 11 to 17 and 22 to 27 % of an image; float16 takes 3 to 5 times, as it is to be turned
into float32, and saves half; zarr takes 63 to 71 times and saves 15 to 19 %; npz took 170 in an earlier measurement.
Compressed label maps would be 30 to 500 times smaller, but they are a fifth of a store, and take 4 to 11 times as long.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.imaging.preprocessing import CropRecord, PreprocessedCase
from segfw.core.labels import LabelKey
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import atomic_path, sha256, write_text

T = TypeVar("T")

FORMAT = 1
MANIFEST = "manifest.json"
RECORD_ENDING = ".record.json"
DATASET = "dataset"
"""In a manifest's description: hash of the whole dataset when the store was completed. Where it is the same now, no
case has to be looked at to know that all are up to date."""
MEMBER_ENDINGS = (".image.npy", ".label.npy", ".locations.npy")
REMEDY = "run the preprocess stage again"


@dataclass(frozen=True)
class Member:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Members:
    """The arrays of a case."""

    image: Member
    locations: Member
    label: Member | None = None

    def files(self, name: str) -> dict[str, Member]:
        """Return file name -> what the file of case `name` should be."""
        kinds = {"image": self.image, "locations": self.locations, "label": self.label}
        return {f"{name}.{kind}.npy": member for kind, member in kinds.items() if member is not None}


@dataclass(frozen=True)
class CaseRecord:
    """A case's record. `locations`: each key with the number of its voxels; `made_from`: input -> hash."""

    format: int
    record: CropRecord
    locations: tuple[tuple[LabelKey, int], ...]
    members: Members
    made_from: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ManifestCase:
    """What a manifest says of a case; `record`: SHA-256 of its record."""

    record: str
    members: Members


@dataclass(frozen=True)
class Manifest:
    """What makes a folder of cases a store. `description` says how it was made."""

    format: int
    description: dict[str, Any]
    cases: dict[str, ManifestCase]


def save_case(folder: Path, name: str, case: PreprocessedCase, made_from: Mapping[str, str] | None = None) -> None:
    """Write the files of case `name`, its record last. A committed store has to be committed again.

    `made_from`: input -> hash, kept in the record.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    record_path(folder, name).unlink(missing_ok=True)

    def write(kind: str, array: NDArray[Any]) -> Member:
        return write_member(folder / f"{name}.{kind}.npy", array)

    flat = [np.asarray(one, np.int64).ravel() for one in case.locations.values()]
    small = math.prod(case.image.shape[1:]) <= np.iinfo(np.int32).max
    voxels = np.concatenate([*flat, np.zeros(0, np.int64)]).astype(np.int32 if small else np.int64)
    members = Members(
        image=write("image", np.asarray(case.image, np.float32)),
        locations=write("locations", voxels),
        label=None if case.label is None else write("label", _compact(case.label, np.int8)),
    )
    keys = tuple((tuple(map(int, key)), len(one)) for key, one in zip(case.locations, flat, strict=True))
    record = CaseRecord(FORMAT, case.record, keys, members, dict(made_from or {}))
    write_text(record_path(folder, name), json.dumps(to_plain(record), indent=1))


def saved_cases(folder: Path) -> set[str]:
    """Return the names of the cases whose files are all there, of the right size."""
    return {name for name in _names(folder, RECORD_ENDING) if _is_saved(folder, name)}


def remove_other_cases(folder: Path, kept: Collection[str]) -> set[str]:
    """Remove the files of every case but those in `kept`; return whose. The store has to be committed again."""
    removed: set[str] = set()
    for ending in (RECORD_ENDING, *MEMBER_ENDINGS):
        for name in _names(folder, ending) - set(kept):
            (folder / MANIFEST).unlink(missing_ok=True)
            (folder / f"{name}{ending}").unlink(missing_ok=True)
            removed.add(name)
    return removed


def commit_store(folder: Path, description: dict[str, Any]) -> None:
    """Write the manifest over every saved case. `description` says how the store was made; it is kept."""
    cases = {
        name: ManifestCase(sha256(record_path(folder, name)), read_record(folder, name).members)
        for name in sorted(saved_cases(folder))
    }
    write_text(folder / MANIFEST, json.dumps(to_plain(Manifest(FORMAT, description, cases)), indent=1))


def record_path(folder: Path, name: str) -> Path:
    """Return where the record of case `name` lies."""
    return folder / f"{name}{RECORD_ENDING}"


def read_record(folder: Path, name: str) -> CaseRecord:
    """Return a case's record; `ArtefactError` for one that is missing or damaged."""
    return load_json(CaseRecord, record_path(folder, name))


def load_json(kind: type[T], path: Path) -> T:
    """Return the `kind` that a JSON file holds; `ArtefactError` for one that is unreadable, damaged or too new."""
    try:
        return from_plain(kind, _load_plain(path))
    except UsageError as error:
        raise ArtefactError(f"{path} is damaged: {error}") from error


def complete_files(folder: Path, dataset: str, names: Collection[str]) -> list[str] | None:
    """Return the files that the manifest lists if it was written for the `dataset` of this hash, and these cases.

    None where it was not, so that each case has to be looked at. Thousands of cases take no time: `ArtefactError` is
    raised for a manifest that cannot be read, but its values are not checked one by one.
    """
    plain = _load_plain(folder / MANIFEST)
    try:
        if plain["description"].get(DATASET) != dataset or plain["cases"].keys() != set(names):
            return None
        cases = plain["cases"].items()
        kinds = {name: [kind for kind, member in case["members"].items() if member] for name, case in cases}
    except (AttributeError, KeyError, TypeError) as error:
        raise ArtefactError(f"{folder / MANIFEST} is damaged: {error!r}") from error
    return [f"{name}.{kind}.npy" for name, of_case in kinds.items() for kind in of_case]


def _load_plain(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"cannot read {path}: {error}") from error
    if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
        found = loaded.get("format") if isinstance(loaded, dict) else loaded
        raise ArtefactError(f"{path} has format {found!r}, this version reads {FORMAT}")
    return loaded


def load_manifest(kind: type[T], folder: Path, what: str, remedy: str) -> T:
    """Return the manifest of a folder that is complete; `ArtefactError`, naming `what` and ending in `remedy`, else."""
    if not (folder / MANIFEST).is_file():
        raise ArtefactError(f"{what} is not complete: it has no {MANIFEST}; {remedy}")
    try:
        return load_json(kind, folder / MANIFEST)
    except ArtefactError as error:
        raise ArtefactError(f"{error}; {remedy}") from error


def find_faults(folder: Path, files: Mapping[str, Member]) -> list[str]:
    """Say which of the files in `folder` are missing or of another size than stated."""
    faults = []
    for file, member in files.items():
        path = folder / file
        if not path.is_file():
            faults.append(f"{file} is missing")
        elif path.stat().st_size != member.bytes:
            faults.append(f"{file} has {path.stat().st_size} bytes instead of {member.bytes}")
    return faults


def write_member(path: Path, array: NDArray[Any]) -> Member:
    """Write an array as npy, at once or not at all; return its size and SHA-256."""
    with atomic_path(path) as temporary:
        np.save(temporary, np.ascontiguousarray(array))
        return Member(temporary.stat().st_size, sha256(temporary))


def _compact(array: NDArray[np.integer], smallest: type[np.signedinteger[Any]]) -> NDArray[np.integer]:
    return array.astype(smallest if array.max(initial=0) <= np.iinfo(smallest).max else np.int16)


def _names(folder: Path, ending: str) -> set[str]:
    return {path.name.removesuffix(ending) for path in folder.glob(f"[!.]*{ending}")}


def _is_saved(folder: Path, name: str) -> bool:
    try:
        record = read_record(folder, name)
    except ArtefactError:
        return False  # damaged: as good as missing, and made again
    return not find_faults(folder, record.members.files(name))
