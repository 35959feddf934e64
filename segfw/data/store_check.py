"""Finding what a store lacks: cases that are not there, were made from something else, or changed since they were made.

Records are read each time; of the members, only those are hashed whose size or times differ from what a file of notes
says of when they were last known to be whole. So an untouched store costs one look at each file, and one that was
copied (copies that keep the modification time have another time of change) is hashed once.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.core.support.conversion import changed_keys, to_plain
from segfw.core.support.files import sha256, write_text
from segfw.data.case_files import (
    FORMAT,
    MANIFEST,
    Manifest,
    ManifestCase,
    Member,
    find_faults,
    load_json,
    read_record,
    record_path,
)

log = logging.getLogger(__name__)

ABSENT = "not there yet"
FileState = tuple[int, int, int]
"""Bytes, time of modification and of change, in nanoseconds."""


@dataclass(frozen=True)
class Wanted:
    """What a case should be made from (input -> hash), and whether it has a label map."""

    made_from: dict[str, str]
    labeled: bool


@dataclass(frozen=True)
class _Checked:
    format: int
    files: dict[str, FileState]


def find_lacking(folder: Path, wanted: Mapping[str, Wanted], notes: Path) -> dict[str, str]:
    """Return the cases of `wanted` that the store in `folder` has yet to get, each with the reason.

    Which files it found whole it writes into the file `notes`.
    """
    noted = _noted(notes)
    files, lacking = _looked_at(folder, wanted)
    states = {name: _states(folder, members) for name, members in files.items()}
    changed = {name: [f for f, state in found.items() if noted.get(f) != state] for name, found in states.items()}
    if count := sum(map(len, changed.values())):
        size = sum(files[name][file].bytes for name, changed_files in changed.items() for file in changed_files)
        log.info("checking %d files in %s (%.2f GB), which were not checked as they are now", count, folder, size / 1e9)
    for name, changed_files in changed.items():
        if faults := _differing(folder, {file: files[name][file] for file in changed_files}):
            lacking[name] = "; ".join(faults)
    whole = {file: state for name, found in states.items() if name not in lacking for file, state in found.items()}
    if whole != noted:
        _note(notes, whole)
    return lacking


def glance(folder: Path, wanted: Mapping[str, Wanted]) -> dict[str, str]:
    """Return what `find_lacking` would, by records and sizes alone: reads no array and writes nothing."""
    return _looked_at(folder, wanted)[1]


def note_saved(folder: Path, names: Iterable[str], notes: Path) -> None:
    """Note the files of cases that were just saved; what was noted before stays, so that later changes are seen."""
    noted = _noted(notes)
    states = dict(noted)
    for name in names:
        states |= _states(folder, read_record(folder, name).members.files(name))
    if states | noted != noted:
        _note(notes, states | noted)


def _looked_at(folder: Path, wanted: Mapping[str, Wanted]) -> tuple[dict[str, dict[str, Member]], dict[str, str]]:
    """Return the files of cases whose records and sizes are as they should be, and the other cases with the reason."""
    listed = _listed(folder)
    lacking: dict[str, str] = {}
    files: dict[str, dict[str, Member]] = {}
    for name, want in wanted.items():
        if not record_path(folder, name).is_file():
            lacking[name] = ABSENT
            continue
        try:
            files[name] = _sound_members(folder, name, want, listed.get(name))
        except ArtefactError as error:
            lacking[name] = str(error)
    return files, lacking


def _sound_members(folder: Path, name: str, want: Wanted, listed: ManifestCase | None) -> dict[str, Member]:
    """Return a case's files after looking at its record and at their sizes; `ArtefactError` says what is wrong."""
    record = read_record(folder, name)
    if not record.made_from:
        raise ArtefactError("its record does not say what it was made from")
    if changed := changed_keys(record.made_from, want.made_from):
        raise ArtefactError(f"{', '.join(changed)} changed since")
    if want.labeled != (record.members.label is not None):
        raise ArtefactError(f"{record_path(folder, name).name} {'lacks' if want.labeled else 'has'} a label map")
    if listed is not None and listed != ManifestCase(sha256(record_path(folder, name)), record.members):
        raise ArtefactError(f"{record_path(folder, name).name} is not the one that {MANIFEST} lists")
    members = record.members.files(name)
    if faults := find_faults(folder, members):
        raise ArtefactError("; ".join(faults))
    return members


def _listed(folder: Path) -> dict[str, ManifestCase]:
    try:
        return load_json(Manifest, folder / MANIFEST).cases
    except ArtefactError:
        return {}  # an unfinished store, or a manifest to be written again: records say what is needed


def _noted(notes: Path) -> dict[str, FileState]:
    try:
        return load_json(_Checked, notes).files
    except ArtefactError:
        return {}  # every file is hashed


def _states(folder: Path, files: Iterable[str]) -> dict[str, FileState]:
    stats = {file: (folder / file).stat() for file in files}
    return {file: (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for file, stat in stats.items()}


def _differing(folder: Path, files: Mapping[str, Member]) -> list[str]:
    """Read files, and say which cannot be read or hold something else than stated."""
    faults = []
    for file, member in files.items():
        try:
            found = sha256(folder / file)
        except OSError as error:
            faults.append(f"{file} cannot be read ({error.strerror})")
            continue
        if found != member.sha256:
            faults.append(f"{file} has SHA-256 {found[:16]}.. instead of {member.sha256[:16]}..")
    return faults


def _note(notes: Path, files: Mapping[str, FileState]) -> None:
    """Write the notes. Without them, as in a folder that cannot be written to, files are hashed again."""
    try:
        write_text(notes, json.dumps(to_plain(_Checked(FORMAT, dict(files)))))
    except OSError as error:
        log.warning("%s cannot be written (%s): the store is hashed again next time", notes, error.strerror)
