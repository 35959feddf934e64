"""Writing preprocessed cases to disk, in files laid out so that a patch is read without reading the case.

    <case>.image.npy      float32 (C, d0, d1, d2)
    <case>.label.npy      int8, or int16 from label 128 on, (1, d0, d1, d2); absent for a case without a label map
    <case>.locations.npy  int32 (int64 from 2**31 voxels on): flat C-order voxel indices, key after key
    <case>.record.json    the case's geometry, the keys of its locations, size and SHA-256 of the members; written last
    manifest.json         what the store was made from and every case's files; written when all cases are there

Plain npy, because memory-mapped it is by far the fastest to cut patches from (scripts/benchmarks/store.py, warm, one
thread, patches of 128 x 128 x 128 and of 40 x 56 x 40): blosc2 takes 6 to 11 times the processor time with LZ4 and 15
to 17 times with zstd, and saves 11 to 17 and 22 to 27 % of an image; float16 takes 5 times, as it is to be turned into
float32, and saves half; zarr took 9 times, npz 170 in an earlier measurement. Compressed label maps would be 30 to 500
times smaller, but they are a fifth of a store, and take 5 to 11 times as long.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segfw.core.conversion import to_plain
from segfw.core.errors import ArtefactError
from segfw.core.files import atomic_path, sha256, write_text
from segfw.core.preprocessing import PreprocessedCase

FORMAT = 1
MANIFEST = "manifest.json"
RECORD_ENDING = ".record.json"


def save_case(folder: Path, name: str, case: PreprocessedCase) -> None:
    """Write the files of case `name`, its record last. A committed store has to be committed again."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / f"{name}{RECORD_ENDING}").unlink(missing_ok=True)
    members: dict[str, NDArray[Any]] = {"image": np.asarray(case.image, np.float32)}
    if case.label is not None:
        members["label"] = _compact(case.label, np.int8)
    flat = [np.asarray(voxels, np.int64).ravel() for voxels in case.locations.values()]
    members["locations"] = np.concatenate([*flat, np.zeros(0, np.int64)])
    if math.prod(case.image.shape[1:]) <= np.iinfo(np.int32).max:
        members["locations"] = members["locations"].astype(np.int32)
    record = {
        "format": FORMAT,
        "record": to_plain(case.record),
        "locations": [[list(map(int, key)), len(voxels)] for key, voxels in zip(case.locations, flat, strict=True)],
        "members": {kind: write_member(folder / f"{name}.{kind}.npy", array) for kind, array in members.items()},
    }
    write_text(folder / f"{name}{RECORD_ENDING}", json.dumps(record, indent=1))


def saved_cases(folder: Path) -> set[str]:
    """Return the names of the cases whose files are all there, of the right size."""
    names = {path.name.removesuffix(RECORD_ENDING) for path in folder.glob(f"[!.]*{RECORD_ENDING}")}
    return {name for name in names if _is_saved(folder, name)}


def commit_store(folder: Path, description: dict[str, Any]) -> None:
    """Write the manifest over every saved case. `description` says what the store was made from; it is kept."""
    cases = {}
    for name in sorted(saved_cases(folder)):
        record = folder / f"{name}{RECORD_ENDING}"
        cases[name] = {"record": sha256(record), "members": load_json(record)["members"]}
    write_text(folder / MANIFEST, json.dumps({"format": FORMAT, "description": description, "cases": cases}, indent=1))


def load_json(path: Path) -> dict[str, Any]:
    """Return a record or manifest; `ArtefactError` for one that cannot be read or is of another format."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"cannot read {path}: {error}") from error
    if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
        found = loaded.get("format") if isinstance(loaded, dict) else loaded
        raise ArtefactError(f"{path} has format {found!r}, this version reads {FORMAT}; run the preprocess stage again")
    return loaded


def find_faults(folder: Path, name: str, members: dict[str, dict[str, Any]]) -> list[str]:
    """Say which of a case's files are missing or of another size than its record states."""
    faults = []
    for kind, entry in members.items():
        path = folder / f"{name}.{kind}.npy"
        if not path.is_file():
            faults.append(f"{path.name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            faults.append(f"{path.name} has {path.stat().st_size} bytes instead of {entry['bytes']}")
    return faults


def _compact(array: NDArray[np.integer], smallest: type[np.signedinteger[Any]]) -> NDArray[np.integer]:
    return array.astype(smallest if array.max(initial=0) <= np.iinfo(smallest).max else np.int16)


def write_member(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    """Write an array as npy, at once or not at all; return its size and SHA-256."""
    with atomic_path(path) as temporary:
        np.save(temporary, np.ascontiguousarray(array))
        return {"bytes": temporary.stat().st_size, "sha256": sha256(temporary)}


def _is_saved(folder: Path, name: str) -> bool:
    try:
        record = load_json(folder / f"{name}{RECORD_ENDING}")
    except ArtefactError:
        return False  # damaged: as good as missing, and made again
    members = record.get("members")
    return isinstance(members, dict) and not find_faults(folder, name, members)
