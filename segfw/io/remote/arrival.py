"""Files in the cache of what lies at addresses: fetched when they are read, again when the server has another version.

Of a file `CACHE/segfw-addresses/s3:/bucket/scan.nii.gz`, `CACHE/.states` keeps which version it is and how it looked
when it came, so that any other file of its name, from another process or cut short, is fetched again. Nothing needs a
lock: a file takes its name whole.
"""

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError
from segfw.core.support.addresses import (
    address_of,
    bare,
    cache_of,
    is_address,
    mirror_path,
)
from segfw.core.support.files import replace_text, writing
from segfw.io.fetching.fetch import require_space
from segfw.io.formats.endings import PAIR_ENDINGS, TIFF_ENDINGS
from segfw.io.formats.tiff_spacing import sidecar
from segfw.io.remote.system import NotThere, RemoteState, Unreachable, fetch, list_below, look_at

log = logging.getLogger(__name__)

ELSEWHERE = "give data_cache=FOLDER on another disk"
SILENT_SECONDS = 300.0
_silent: dict[str, tuple[float, str]] = {}
"""Scheme and host, or bucket, that did not answer -> until when it is not asked again, and what was told of it."""
OLD_SECONDS = 86400
"""Age at which a part is one that a killed process left."""


def arrive(path: Path) -> None:
    """Let the file, or the folder of a DICOM series, that `path` stands for be there; other paths are left alone.

    `NotThere` where the server has none; then what was in the cache is gone, too. Where the server cannot be reached, a
    whole file in the cache is taken, with a warning.
    """
    address = address_of(path)
    if address is None:
        return
    if path.suffix.lower() in PAIR_ENDINGS:
        raise DataError(f"{address}: images in two files ({path.suffix}) are not read from addresses; make them one")
    host = "/".join(address.split("/")[:3])
    until, told = _silent.get(host, (0.0, ""))
    if time.monotonic() < until:
        if _kept_state(path) is None:
            raise Unreachable(f"{address} is not asked for: {told}")
        return
    try:
        state = look_at(full_address(path))
        if state is not None:
            arrive_as(path, state)
    except NotThere:
        _forget(path)
        raise
    except Unreachable as error:
        _silent[host] = time.monotonic() + SILENT_SECONDS, str(error)
        if _kept_state(path) is None:
            raise
        log.warning("%s; the file of before is taken, as others are for %.0f s", error, SILENT_SECONDS)
        return
    if state is None:
        _arrive_folder(path, address)
        return
    if path.name.lower().endswith(TIFF_ENDINGS):
        for beside in _beside_tiff(path):
            with suppress(NotThere):
                arrive(beside)


def arrive_as(path: Path, state: RemoteState) -> None:
    """Let the file be there in the version that the server was seen to have."""
    if _kept_state(path) == state:
        return
    address, parts = full_address(path), cache_of(path) / ".parts"
    with writing(path):
        for folder in (parts, path.parent):
            folder.mkdir(parents=True, exist_ok=True)
    _remove_old(parts)
    require_space(parts, state.size, bare(address), ELSEWHERE)
    part = parts / uuid.uuid4().hex
    try:
        with writing(path, part):
            fetch(address, state, part)
            found = part.stat()
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    note = _note(path)
    with writing(note):
        note.parent.mkdir(parents=True, exist_ok=True)
    replace_text(note, json.dumps({"state": asdict(state), "size": found.st_size, "mtime_ns": found.st_mtime_ns}))


def mirrored_cases(cases: Iterable[Case], cache: str) -> tuple[Case, ...]:
    """Return the cases with the path that stands for it in the place of each address; raises as `mirrored` does."""
    cases = tuple(cases)
    paths = mirrored((file for case in cases for file in case.files), cache)
    return tuple(case_at_paths(case, paths) for case in cases)


def case_at_paths(case: Case, paths: Mapping[str, str]) -> Case:
    """Return the case with the path of each of its files in the place of its name."""
    return replace(case, images=tuple(paths[image] for image in case.images), label=case.label and paths[case.label])


def mirrored(texts: Iterable[str], cache: str) -> dict[str, str]:
    """Return {text: the path that stands for it, itself for a path}; `DataError` for two addresses that share one.

    What an address says beyond the path, such as a signature, is kept in the cache, for the user's eyes only.
    """
    paths: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for text in texts:
        if text in paths:
            continue
        paths[text] = str(mirror_path(text, cache)) if is_address(text) else text
        if is_address(text) and addresses.setdefault(paths[text], text) != text:
            raise DataError(f"{bare(text)} is listed with two queries; each file needs a path of its own")
    for path, address in addresses.items():
        secret = _secret(Path(path))
        if address == bare(address):
            secret.unlink(missing_ok=True)
        else:
            _write_secret(secret, address)
    return paths


def full_address(path: Path) -> str:
    """Return the address that `path` stands for, with what it was given with."""
    try:
        return _secret(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return address_of(path) or str(path)


def _arrive_folder(path: Path, address: str) -> None:
    members = {path / name.removeprefix(f"{address}/"): state for name, state in list_below(address).items()}
    for member in [*path.rglob("*")] if path.is_dir() else []:
        if member.is_file() and member not in members:
            _forget(member)
    for member, state in members.items():
        arrive_as(member, state)


def _beside_tiff(path: Path) -> set[Path]:
    return {sidecar(path), sidecar(path, channel=True)}


def _kept_state(path: Path) -> RemoteState | None:
    """Return which version the file in the cache is; None where there is none, or not the one that came."""
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        found = path.stat()
        same = (found.st_size, found.st_mtime_ns) == (note["size"], note["mtime_ns"])
        return RemoteState(**note["state"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _forget(path: Path) -> None:
    """Remove a file that came, and no other."""
    if _note(path).is_file():
        path.unlink(missing_ok=True)
        _note(path).unlink()


def _remove_old(parts: Path) -> None:
    for part in parts.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > OLD_SECONDS:
                part.unlink()


def _note(path: Path) -> Path:
    cache = cache_of(path)
    place = cache / ".states" / path.relative_to(cache)
    return place.with_name(f"{place.name}.json")


def _write_secret(secret: Path, address: str) -> None:
    part = secret.with_name(f".{uuid.uuid4().hex}")
    with writing(secret):
        secret.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(address)
        part.replace(secret)


def _secret(path: Path) -> Path:
    return cache_of(path) / ".addresses" / hashlib.sha256(str(path).encode()).hexdigest()
