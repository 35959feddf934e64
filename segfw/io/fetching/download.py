"""Fetch a dataset's archive and unpack it: resumable, checked, and never half there."""

import hashlib
import logging
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path

from segfw.core.errors import DataError, UsageError
from segfw.core.settings.schema import TaskSettings
from segfw.core.support.files import remove_remains
from segfw.core.support.locks import Lock, hold
from segfw.io.datasets.layouts import dataset_folder
from segfw.io.fetching.archives import DamagedArchive, archive_kind
from segfw.io.fetching.connection import DATASET, checked_url
from segfw.io.fetching.fetch import Report, discard, fetch
from segfw.io.fetching.unpack import holds_dataset, unpack

log = logging.getLogger(__name__)

WATCH = 5.0  # seconds between two looks at whether the lock is still ours


def download_task(task: TaskSettings, data_root: Path, report: Report) -> Path:
    """Fetch the dataset of `task` into `data_root` and return its folder; one that is there is left as it is.

    `report(done, total)` is told of the bytes fetched; `total` is None where the server does not say. A second call
    goes on where the first was cut off. An archive that is wrong is removed; if it was pieced together from several
    connections it is fetched once more from the beginning, as one of them may be at fault. `file://` addresses are
    unpacked where they lie. Raises `UsageError` for an address that cannot be, `JobError` when the network or the
    disk fails, `DataError` for a wrong checksum or content.
    """
    folder = dataset_folder(task, data_root)
    if is_there(folder):
        return folder
    url, md5 = checked_source(task, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with hold(folder.with_name(f".{folder.name}.lock"), f"the dataset folder {folder}") as lock:
        if is_there(folder):
            return folder
        remove_remains(folder)
        if url.startswith("file:"):
            archive = Path(urllib.request.url2pathname(urllib.parse.urlparse(url).path))
            _unpack_local(archive, md5, folder, lock)
        else:
            _fetch_and_unpack(url, md5, folder, lock, report)
    return folder


def checked_source(task: TaskSettings, folder: Path) -> tuple[str, str | None]:
    """Return the address of the archive that becomes `folder`, and its MD5; `UsageError` for what cannot be one."""
    if not task.url:
        raise UsageError(f"task {task.name!r} has no url to download from; put the dataset into {folder}")
    return checked_url(task.url, "task.url"), _checked_md5(task.md5)


def part_of(folder: Path) -> Path:
    """Return the file that holds what was fetched so far of the dataset `folder`."""
    return folder.with_name(f"{folder.name}.part")


def _fetch_and_unpack(url: str, md5: str | None, folder: Path, lock: Lock, report: Report) -> None:
    part = part_of(folder)
    watched = _watched(lock, report)
    for last in (False, True):
        resumed = fetch(url, part, watched, DATASET)
        try:
            _check_and_unpack(part, md5, folder, lock)
        except DamagedArchive as error:
            discard(part)
            if last or not resumed:
                raise DataError(f"{url}: {error}; what was fetched was removed") from error
            log.warning("%s; it was fetched in several pieces, fetching it once more from the beginning", error)
        except DataError as error:
            discard(part)
            raise DataError(f"{url}: {error}; what was fetched was removed") from error
        else:
            discard(part)
            return


def _unpack_local(archive: Path, md5: str | None, folder: Path, lock: Lock) -> None:
    if not archive.is_file():
        raise DataError(f"task.url names the archive {archive}, and there is no such file")
    try:
        _check_and_unpack(archive, md5, folder, lock)
    except DataError as error:
        raise DataError(f"{archive}: {error}") from error


def _check_and_unpack(archive: Path, md5: str | None, folder: Path, lock: Lock) -> None:
    archive_kind(archive)  # a web page is better called one than a file of another MD5
    if md5:
        log.info("checking the MD5 of %.2f GB", archive.stat().st_size / 1e9)
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5:
            raise DamagedArchive(f"the archive has the MD5 {found}, task.md5 is {md5}")
    log.info("unpacking into %s", folder)
    unpack(archive, folder, lock.check)


def _watched(lock: Lock, report: Report) -> Report:
    """Return `report` that also stops a command which slept so long that another one took its place."""
    looked = time.monotonic()

    def watch(done: int, total: int | None) -> None:
        nonlocal looked
        if time.monotonic() - looked > WATCH:
            lock.check()
            looked = time.monotonic()
        report(done, total)

    return watch


def is_there(folder: Path) -> bool:
    """Whether the dataset is there; `DataError` if something else has its place. An empty folder is none."""
    if folder.is_file():
        raise DataError(f"{folder} is a file; `download` makes a folder of that name, give another task.folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    if holds_dataset(folder):
        return True
    raise DataError(
        f"{folder} is there but holds neither dataset.json nor imagesTr; move it away, or give another task.folder"
    )


def _checked_md5(md5: str | None) -> str | None:
    if md5 is not None and not re.fullmatch(r"[0-9a-fA-F]{32}", md5):
        raise UsageError(f"task.md5 must be 32 hexadecimal digits, got {md5!r}")
    return md5.lower() if md5 else None
