"""Which files lie at addresses and in which version, asked folder by folder, and a folder's outline to look into.

A command asks several times; what a server has told is kept until a dataset is read anew.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError, SegfwError, UsageError
from segfw.core.support.addresses import MIRROR, address_of, cache_of, mirror_path
from segfw.core.support.files import replace_text, writing
from segfw.io.formats.endings import is_known
from segfw.io.remote.arrival import arrive_as, case_at_paths, full_address, mirrored
from segfw.io.remote.system import Denied, NotThere, RemoteState, Unreachable, can_list, list_below, look_at

log = logging.getLogger(__name__)

ASKED_AT_ONCE = 16
DESCRIPTION = "dataset.json"
TEXTS = (".csv", ".yaml", ".yml")
_told: dict[Path, dict[Path, RemoteState]] = {}
"""Folder -> path -> state of what lies below it, of what this process has been told."""
_members: dict[Path, dict[Path, RemoteState]] = {}
"""The same by the folder that a file itself lies in."""


@dataclass(frozen=True)
class Outline:
    """A temporary folder that shows the names below `place`, empty but for lists and dataset.json."""

    root: Path
    cache: Path
    place: Path

    def mirrored(self, texts: Iterable[str]) -> dict[str, str]:
        """Return {text: the path in the cache for one in the outline, any other text as it is}."""
        addresses = {text: self._address(text) for text in texts}
        paths = mirrored(addresses.values(), str(self.cache))
        return {text: paths[address] for text, address in addresses.items()}

    def mirrored_cases(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """Return the cases with their paths in the cache."""
        paths = self.mirrored(file for case in cases for file in case.files)
        return tuple(case_at_paths(case, paths) for case in cases)

    def _address(self, text: str) -> str:
        """Return the address that a path in the outline shows, which of http may have a query; else the text."""
        if not text.startswith(f"{self.root}/"):
            return text
        path = Path(os.path.normpath(text))
        address = address_of(path)
        if address is None or not path.is_relative_to(self.root):
            raise DataError(f"{self.place} names a file that no address has: {text}")
        return address


def forget() -> None:
    """Let everything be asked anew."""
    _told.clear()
    _members.clear()


def states_of(paths: Iterable[str]) -> dict[str, RemoteState]:
    """Return {path: state} of those that stand for addresses; what the server does not have is left out.

    A folder, of a DICOM series, has the sum of its files' sizes and a version of all. Servers that list are asked once
    for each folder, others once for each file.
    """
    asked = [Path(path) for path in paths if address_of(path) is not None]
    folders = defaultdict(list)
    for path in asked:
        if not any(folder in _told for folder in (path.parent, *path.parents)):
            folders[path.parent].append(path)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        list(pool.map(_ask, folders))
        single = [path for path in asked if not can_list(str(address_of(path)))]
        alone = dict(zip(single, pool.map(_look, single), strict=True))
    found = {path: alone[path] if path in alone else _listed(path) for path in asked}
    return {str(path): state for path, state in found.items() if state is not None}


@contextmanager
def outline(place: Path) -> Iterator[Outline]:
    """Show what lies at the address of `place` in a temporary folder. Errors within name addresses, not the folder.

    A server that does not list shows dataset.json alone, or the file that `place` is.
    """
    cache = cache_of(place)
    root = Path(tempfile.mkdtemp(prefix="segfw-outline-"))
    try:
        _draw(place, cache, root)
        yield Outline(root, cache, root / place.relative_to(cache))
    except SegfwError as error:
        if str(root) not in str(error):
            raise
        text = str(error)
        for scheme in (path.name for path in (root / MIRROR).iterdir()):
            text = text.replace(f"{root / MIRROR}/{scheme}/", f"{scheme}//")
        raise type(error)(text) from error
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _draw(place: Path, cache: Path, root: Path) -> None:
    states = _below(place)
    for path, state in states.items():
        shown = root / path.relative_to(cache)
        shown.parent.mkdir(parents=True, exist_ok=True)
        if path.parent in (place, place.parent) and (path.name == DESCRIPTION or path.suffix.lower() in TEXTS):
            arrive_as(path, state)
            shutil.copyfile(path, shown)
        else:
            shown.write_bytes(bytes(128) + b"DICM" if _may_be_slice(path, place) else b"")


def _below(place: Path) -> dict[Path, RemoteState]:
    """Return what lies below `place`, and the description beside it where it is a list."""
    if place.suffix.lower() in TEXTS or not can_list(str(address_of(place))):
        return _alone(place, place.suffix.lower() in TEXTS or is_known(place))
    states = _ask(place)
    if not states:
        raise DataError(f"there is nothing at {address_of(place)}")
    return states


def _alone(place: Path, is_file: bool) -> dict[Path, RemoteState]:
    """Return a file and the description beside it or, of a folder that cannot be listed, its description."""
    beside = (place.parent if is_file else place) / DESCRIPTION
    found: dict[Path, RemoteState] = {}
    for path in (place, beside) if is_file else (beside,):
        try:
            state = look_at(full_address(path))
        except (NotThere, Denied) as error:  # some servers deny what is not there
            if isinstance(error, Denied) and (path == place or not is_file):
                raise
            continue
        if state is not None:
            found[path] = state
    needed = place if is_file else beside
    if needed not in found:
        raise DataError(
            f"there is no file {address_of(needed)}; what is read from an address that cannot be listed (http) is one "
            "file, a CSV or YAML list, or a dataset.json that lists its files"
        )
    return found


def _may_be_slice(path: Path, place: Path) -> bool:
    return path.parent != place and path.suffix.lower() in ("", ".dcm")


def _ask(folder: Path) -> dict[Path, RemoteState]:
    """Return, and keep, what is at or below a folder; nothing for one that is not there.

    A server that cannot be reached has what it had when it was asked last, of which a warning is given.
    """
    if folder in _told:
        return _told[folder]
    address, kept = str(address_of(folder)), _kept(folder)
    if not can_list(address):
        return {}
    try:
        states = {path: state for name, state in list_below(address).items() if (path := _path_below(folder, name))}
        replace_text(kept, json.dumps({str(path.relative_to(folder)): asdict(state) for path, state in states.items()}))
    except NotThere:
        states = {}
    except Unreachable as error:
        try:
            told = json.loads(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise error from None
        log.warning("%s; what it told last is taken", error)
        states = {folder / name: RemoteState(**state) for name, state in told.items()}
    for path, state in states.items():
        _members.setdefault(path.parent, {})[path] = state
    return _told.setdefault(folder, states)


def _path_below(folder: Path, address: str) -> Path | None:
    """Return the path of what was listed below a folder; None, with a warning, for a name that no path can have."""
    try:
        return mirror_path(address, str(cache_of(folder)))
    except UsageError as error:
        log.warning("left out: %s", error)
        return None


def _look(path: Path) -> RemoteState | None:
    if path in _told:
        return _told[path].get(path)
    with suppress(NotThere):
        state = look_at(full_address(path))
        if state is not None:
            _told[path] = {path: state}
        return state
    return None


def _listed(path: Path) -> RemoteState | None:
    """Return the state of a file, or of a folder's files together, by the listing of a folder above it."""
    listing = next(_told[folder] for folder in path.parents if folder in _told)
    if path in listing:
        return listing[path]
    members = _members.get(path)
    if not members:
        return None
    named = sorted([file.name, state.size, state.version] for file, state in members.items())
    size = sum(state.size for state in members.values())
    return RemoteState(size, hashlib.sha256(json.dumps(named).encode()).hexdigest())


def _kept(folder: Path) -> Path:
    kept = cache_of(folder) / ".listings" / f"{hashlib.sha256(str(folder).encode()).hexdigest()}.json"
    with writing(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
    return kept
