"""Reading preprocessed cases: memory-mapped, so that a patch costs what it holds (layout: `case_files`)."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.imaging.preprocessing import CropRecord
from segfw.core.labels import LabelKey
from segfw.core.support.files import sha256
from segfw.core.support.zip_reading import ARRAY_DAMAGE
from segfw.data.case_files import REMEDY, Manifest, find_faults, load_manifest, read_record, record_path

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

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.description = manifest.description
        self.cases = tuple(manifest.cases)
        self._files = manifest.cases
        self._open: OrderedDict[str, StoredCase] = OrderedDict()

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Open a committed store; `ArtefactError` when it is incomplete, naming the file at fault.

        Sizes alone are looked at: contents are `store_check`'s, before a stage begins.
        """
        manifest = load_manifest(Manifest, folder, f"store {folder}", REMEDY)
        for name, case in manifest.cases.items():
            faults = find_faults(folder, case.members.files(name))
            if not record_path(folder, name).is_file():
                faults.append(f"{record_path(folder, name).name} is missing")
            if faults:
                raise ArtefactError(f"store {folder}, case {name!r}: {'; '.join(faults)}; {REMEDY}")
        return cls(folder, manifest)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def check(self) -> None:
        """Read every file and compare its SHA-256 with the manifest's; `ArtefactError` names the first that differs."""
        for name, case in self._files.items():
            digests = {file: member.sha256 for file, member in case.members.files(name).items()}
            for file, digest in {**digests, record_path(self.folder, name).name: case.record}.items():
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

    def files(self, name: str) -> tuple[Path, ...]:
        """Return the files of case `name` that patches are cut from."""
        return tuple(self.folder / file for file in self._files[name].members.files(name) if ".locations." not in file)

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
    try:
        entry = read_record(folder, name)
    except ArtefactError as error:
        raise ArtefactError(f"{error}; {REMEDY}") from error
    image, flat = map_array(folder / f"{name}.image.npy"), map_array(folder / f"{name}.locations.npy")
    label = None if entry.members.label is None else map_array(folder / f"{name}.label.npy")
    locations, start = {}, 0
    for key, count in entry.locations:
        locations[key] = flat[start : start + count]
        start += count
    return StoredCase(image, label, locations, entry.record)


def map_array(path: Path) -> NDArray[Any]:
    """Map an npy file read-only. Unlike numpy, torch keeps no descriptor for it: many cases can stay open."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            offset, size = file.tell(), path.stat().st_size
        if dtype.kind not in "iuf" or offset + math.prod(shape) * dtype.itemsize != size:
            raise ValueError(f"its header states {dtype} in the shape {shape}, which the {size} bytes are not")
    except ARRAY_DAMAGE as error:
        raise ArtefactError(f"{path} is damaged ({error}); delete it and run the preprocess stage again") from error
    whole: NDArray[Any] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    array = whole[offset:].view(dtype).reshape(shape)
    array.flags.writeable = False
    return array
