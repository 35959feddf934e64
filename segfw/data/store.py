"""Reading preprocessed cases: memory-mapped, so that a patch costs what it holds (layout: `case_files`)."""

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segfw.core.conversion import from_plain, to_plain
from segfw.core.errors import ArtefactError, UsageError
from segfw.core.files import atomic_path, sha256, write_text
from segfw.core.labels import LabelKey
from segfw.core.preprocessing import CropRecord
from segfw.data.case_files import MANIFEST, RECORD_ENDING, find_faults, load_json

OPEN_CASES = 1024  # of up to three mappings each: far below the 65530 that Linux grants a process


@dataclass(frozen=True, eq=False)
class StoredCase:
    """One case's arrays, memory-mapped read-only, and its record. `locations`: flat indices into the spatial shape."""

    image: NDArray[np.float32]
    label: NDArray[np.integer] | None
    locations: dict[LabelKey, NDArray[np.integer]]
    record: CropRecord


class Store:
    """A complete folder of preprocessed cases; arrays are mapped on first use, the last `OPEN_CASES` cases stay open.

    Can be pickled: a worker process maps the files anew.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.description: dict[str, Any] = manifest["description"]
        self.cases: tuple[str, ...] = tuple(manifest["cases"])
        self._files: dict[str, dict[str, Any]] = manifest["cases"]
        self._open: OrderedDict[str, StoredCase] = OrderedDict()

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Open a committed store; `ArtefactError` when it is incomplete, naming the file at fault."""
        if not (folder / MANIFEST).is_file():
            raise ArtefactError(f"store {folder} is not complete: it has no {MANIFEST}; run the preprocess stage again")
        manifest = load_json(folder / MANIFEST)
        if not isinstance(manifest.get("cases"), dict) or "description" not in manifest:
            raise ArtefactError(f"{folder / MANIFEST} is damaged; run the preprocess stage again")
        for name, files in manifest["cases"].items():
            faults = find_faults(folder, name, files["members"])
            if not (folder / f"{name}{RECORD_ENDING}").is_file():
                faults.append(f"{name}{RECORD_ENDING} is missing")
            if faults:
                raise ArtefactError(
                    f"store {folder}, case {name!r}: {'; '.join(faults)}; run the preprocess stage again"
                )
        return cls(folder, manifest)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def check(self) -> None:
        """Read every file and compare its SHA-256 with the manifest's; `ArtefactError` names the first that differs."""
        for name, files in self._files.items():
            expected = {f"{name}.{kind}.npy": entry["sha256"] for kind, entry in files["members"].items()}
            for file, digest in {**expected, f"{name}{RECORD_ENDING}": files["record"]}.items():
                if (found := sha256(self.folder / file)) != digest:
                    raise ArtefactError(f"store {self.folder}: {file} has SHA-256 {found}, the manifest says {digest}")

    def case(self, name: str) -> StoredCase:
        """Return case `name`; `UsageError` if the store has none of that name."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        if name not in self._files:
            raise UsageError(f"store {self.folder} has no case {name!r}; it has {len(self.cases)} cases")
        self._open[name] = case = _map_case(self.folder, name)
        if len(self._open) > OPEN_CASES:
            self._open.popitem(last=False)
        return case

    def image(self, name: str) -> NDArray[np.float32]:
        """Return the image (C, d0, d1, d2), float32."""
        return self.case(name).image

    def label(self, name: str) -> NDArray[np.integer]:
        """Return the label map (1, d0, d1, d2), -1 outside the nonzero region; `ArtefactError` if the case has none."""
        label = self.case(name).label
        if label is None:
            raise ArtefactError(f"store {self.folder}: case {name!r} has no label map; preprocess it with its label")
        return label

    def locations(self, name: str) -> dict[LabelKey, NDArray[np.integer]]:
        """Return some voxels of each key, as flat C-order indices into (d0, d1, d2)."""
        return self.case(name).locations

    def record(self, name: str) -> CropRecord:
        """Return where the case's grid lies in the raw image."""
        return self.case(name).record


def _map_case(folder: Path, name: str) -> StoredCase:
    entry = load_json(folder / f"{name}{RECORD_ENDING}")
    mapped = {kind: map_array(folder / f"{name}.{kind}.npy") for kind in entry["members"]}
    locations, start = {}, 0
    for key, count in entry["locations"]:
        locations[tuple(key)] = mapped["locations"][start : start + count]
        start += count
    return StoredCase(mapped["image"], mapped.get("label"), locations, from_plain(CropRecord, entry["record"], name))


def map_array(path: Path) -> NDArray[Any]:
    """Map an npy file read-only. Unlike numpy, torch keeps no descriptor for it: many cases can stay open."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            offset, size = file.tell(), path.stat().st_size
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); delete it and run the preprocess stage again") from error
    whole: NDArray[Any] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    array = whole[offset:].view(dtype).reshape(shape)
    array.flags.writeable = False
    return array
