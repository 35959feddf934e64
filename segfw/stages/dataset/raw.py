"""The raw dataset as it lies on disk: its description, and a content hash that survives copies and moves.

Every command lists the folder again. A file whose size and time are those of the last command is taken to be the
same; only others are hashed, so that a second command on 100 GB of images starts at once.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from stat import S_ISDIR

from segfw.core.cases.dataset import Dataset
from segfw.core.cases.splits import listed
from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.support.addresses import DATA_CACHE, address_of
from segfw.core.support.files import sha256
from segfw.core.support.words import counted
from segfw.io.datasets.layouts import read_dataset
from segfw.io.datasets.phantom import make_phantom_dataset
from segfw.io.remote.listing import states_of
from segfw.io.remote.system import RemoteState
from segfw.stages.dataset.record import DatasetRecord, FileRecord, load_record, save_record
from segfw.workspace import Workspace, digest

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 16
VERSION_DIGITS = 12  # of a hash, hexadecimal, in the place of a time


def workspace_of(settings: ExperimentSettings) -> Workspace:
    """Return where everything made of the task's dataset goes; `UsageError` where no task is given."""
    if settings.task.name is None:
        raise UsageError("no task: give +task=Task04, or task.name=Mine task.folder=Mine for a folder of your own")
    return Workspace(Path(settings.output_root) / settings.task.name)


def would_be_made(task: TaskSettings, data_root: Path) -> Path | None:
    """Return the folder of a synthetic dataset that `find_dataset` would have to make; None where it need not."""
    folder = data_root / (task.folder or task.name or "")
    return folder if task.synthetic == "phantom" and address_of(folder) is None and not folder.exists() else None


def find_dataset(task: TaskSettings, data_root: Path, data_cache: str = DATA_CACHE) -> Dataset:
    """Read what the dataset is and which files it should have, after making it if it is synthetic."""
    folder = would_be_made(task, data_root)
    if folder is not None:
        log.info("making the synthetic dataset in %s", folder)
        make_phantom_dataset(folder)
    return read_dataset(task, data_root, data_cache)


def scan(dataset: Dataset, workspace: Workspace) -> DatasetRecord:
    """Hash the dataset's files that changed since the last command, and keep the result in dataset.yaml."""
    before = load_record(workspace)
    if before is not None:
        _tell_lost(before.dataset, dataset)
    record = look(dataset, before)
    if record != before:
        save_record(workspace, record)
    return record


def _tell_lost(before: Dataset, now: Dataset) -> None:
    """Name the cases that are no longer found: what follows from that, such as other folds, does not name them."""
    names = {case.name for case in now.cases}
    lost = [case for case in before.cases if case.name not in names]
    if lost:
        files = [path for case in lost for path in case.files if not Path(path).exists()]
        where = f"; {files[0]} is not there any more" if files else ""
        log.warning(
            "the dataset has lost %s since the last command: %s%s",
            *(counted(len(lost), "case"), listed([case.name for case in lost]), where),
        )


def look(dataset: Dataset, before: DatasetRecord | None) -> DatasetRecord:
    """Return the dataset with its files' states, hashing those that changed since `before`."""
    paths = [path for case in dataset.cases for path in case.files]
    return DatasetRecord(dataset, _states(paths, before.files if before else {}))


def changed_files(record: DatasetRecord) -> list[str]:
    """Return the raw files that are gone or have another size or time than in `record`; reads none of them.

    Many are asked for at once, since each answer of a shared file system takes its time.
    """
    try:
        remote = {path: _record_of(path, state) for path, state in states_of(record.files).items()}
    except JobError as error:
        log.warning("%s", error)
        remote = {}
    elsewhere = [path for path in record.files if address_of(path) is not None]
    differing = [path for path in elsewhere if remote.get(path) != record.files[path]]
    paths = [path for path in record.files if address_of(path) is None]
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        shares = pool.map(partial(_changed, record.files), (paths[i::LOOKS_AT_ONCE] for i in range(LOOKS_AT_ONCE)))
        return sorted([*differing, *(path for share in shares for path in share)])


def _record_of(path: str, state: RemoteState) -> FileRecord:
    """Return what is noted of a file at an address: the version takes the places of time and content.

    Where the version is the content's MD5, equal files have equal hashes, wherever they lie.
    """
    known = digest(["md5", state.md5, state.size] if state.md5 else [path, state.version, state.size])
    return FileRecord(state.size, int(digest(state.version)[:VERSION_DIGITS], 16), known)


def _states(paths: Iterable[str], before: dict[str, FileRecord]) -> dict[str, FileRecord]:
    """Return each file's state, hashing only those whose size or time differ from `before`.

    Of what lies at an address nothing is fetched: the hash is that of what the server says of it.
    """
    paths = list(paths)
    states = {path: _record_of(path, state) for path, state in states_of(paths).items()}
    for path in paths:
        if path in states:
            continue
        if (address := address_of(path)) is not None:
            raise DataError(f"there is nothing at {address}")
        try:
            members = _members(Path(path))
            size, mtime_ns = _size_and_time(members)
            known = before.get(path)
            if known is None or (known.size, known.mtime_ns) != (size, mtime_ns):
                known = FileRecord(size, mtime_ns, _hash(members))
            states[path] = known
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return states


def _changed(files: Mapping[str, FileRecord], paths: Sequence[str]) -> list[str]:
    """Return those of `paths` that are gone or look otherwise than noted."""
    changed = []
    for path in paths:
        try:
            size_and_time = _size_and_time(_members(Path(path)))
        except OSError:
            changed.append(path)
            continue
        if size_and_time != (files[path].size, files[path].mtime_ns):
            changed.append(path)
    return changed


def _size_and_time(members: list[Path]) -> tuple[int, int]:
    stats = [member.stat() for member in members]
    files = [stat for stat in stats if not S_ISDIR(stat.st_mode)]
    return sum(stat.st_size for stat in files), sum(stat.st_mtime_ns for stat in stats)


def _members(path: Path) -> list[Path]:
    """Return a file alone, or a folder and what is below it."""
    return [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]


def _hash(members: list[Path]) -> str:
    """Hash a file, or the names and contents of a folder's files."""
    folder, *others = members
    if not folder.is_dir():
        return sha256(folder)
    return digest([[path.relative_to(folder).as_posix(), sha256(path)] for path in others if path.is_file()])
