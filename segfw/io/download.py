"""Fetch a dataset's archive: resumable, checked, and unpacked so that nothing lands outside its folder."""

import hashlib
import http.client
import shutil
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.settings import TaskSettings
from segfw.io.layouts import dataset_folder

Report = Callable[[int, int | None], None]
BLOCK = 2**20
ATTEMPTS = 5  # in a row without a single new byte
TIMEOUT = 60.0  # seconds of silence
PAUSE = 1.0  # seconds between attempts


def download_task(task: TaskSettings, data_root: Path, report: Report) -> Path:
    """Fetch the dataset of `task` into `data_root` and return its folder; one that is there is left as it is.

    `report(done, total)` is told of the bytes fetched; `total` is None where the server does not say. What was
    fetched stays in a `.part` file until it is whole, so a second call goes on where the first was cut off. Raises
    `JobError` when the network or the disk fails, `DataError` for a wrong checksum or an archive with links or with
    paths outside.
    """
    folder = dataset_folder(task, data_root)
    if folder.is_dir():
        return folder
    if not task.url:
        raise UsageError(f"task {task.name!r} has no url to download from; put the dataset into {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.parent / f"{PurePosixPath(urllib.parse.urlparse(task.url).path).name or folder.name}.part"
    _fetch(task.url, archive, report)
    if task.md5:
        _check_md5(archive, task.md5, task.url)
    _unpack(archive, folder)
    archive.unlink()
    return folder


def _fetch(url: str, part: Path, report: Report) -> None:
    """Fetch `url` into `part`, going on after dropped connections for as long as there is progress."""
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _fetch_rest(url, part, report):
                return
            reason = "the connection was closed early"
        except urllib.error.HTTPError as error:
            raise JobError(f"cannot fetch {url}: the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        now = part.stat().st_size if part.is_file() else 0
        failures = 0 if now > before else failures + 1
        if failures >= ATTEMPTS:
            raise JobError(
                f"cannot fetch {url}: {reason} ({now} bytes are in {part}; the same command goes on from there)"
            )
        time.sleep(PAUSE)


def _fetch_rest(url: str, part: Path, report: Report) -> bool:
    """Append what is missing to `part`; return whether it is whole."""
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if done and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range") == f"bytes */{done}":
                return True
            part.unlink()  # not the beginning of this file
            return False
        raise
    with response:
        if done and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        if total is not None:
            _require_space(part.parent, total - done, 2 * total - done)
        with part.open("ab" if done else "wb") as file:
            report(done, total)
            while block := response.read(BLOCK):
                file.write(block)
                done += len(block)
                report(done, total)
    return total is None or done == total


def _require_space(folder: Path, missing: int, needed: int) -> None:
    """Refuse to begin where neither the rest of the archive nor its content will fit."""
    free = shutil.disk_usage(folder).free
    if missing and free < needed:
        raise JobError(
            f"{folder} has {free / 1e9:.1f} GB free; the archive and what it holds need {needed / 1e9:.1f} GB; "
            "free some or give data_root=FOLDER on another disk"
        )


def _check_md5(archive: Path, wanted: str, url: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != wanted.lower():
        archive.unlink()
        raise DataError(f"{url} gave a file with the MD5 {found}, not {wanted}; it was removed, fetch it again")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a temporary folder and rename: `folder` is complete or absent."""
    temporary = folder.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{folder.name}")
    temporary.mkdir()
    try:
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    _unpack_member(tar, member, temporary, archive)
        except (tarfile.TarError, EOFError) as error:
            archive.unlink()
            raise DataError(f"{archive} is no whole tar archive ({error}); it was removed, fetch it again") from error
        content = list(temporary.iterdir())
        top = content[0] if len(content) == 1 and content[0].is_dir() else temporary
        if not (top / "dataset.json").is_file():
            raise DataError(
                f"{archive} holds no dataset: there is no dataset.json in {[path.name for path in content][:5]}"
            )
        top.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    """Write one regular file or folder; macOS's hidden twins (`._name`) are left out. Anything else is refused.

    Only names and bytes are taken over: no links, devices, owners or modes, which is stricter than tarfile's data
    filter.
    """
    path = PurePosixPath(member.name)
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise DataError(f"{archive} would write outside its folder: {member.name!r}; it was not unpacked")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive} holds {member.name!r}, which is neither a file nor a folder; it was not unpacked")
    if path.name.startswith("._"):
        return
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is not None:
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file, BLOCK)
