"""Where a packaged model is found: on disk, or at an address, from which it is fetched once and kept.

A fetched model is kept under its SHA-256, which the user gives: whatever the server sends, it is that model or none,
and two addresses of one model are one file. It is checked again whenever it is used.
"""

import logging
import re
from pathlib import Path

from segfw.core.errors import DataError, UsageError
from segfw.core.support.addresses import cache_folder
from segfw.core.support.files import sha256
from segfw.core.support.locks import hold
from segfw.io.fetching.connection import MODEL, checked_url
from segfw.io.fetching.fetch import discard, fetch
from segfw.stages.dataset.download import show_progress

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def find_model(model: str, checksum: str | None, cache: str) -> Path:
    """Return the folder or `.zip` of `model`, fetched into the folder `cache` first if it is an address.

    Raises `UsageError` for an address without checksum, `DataError` for a file of another one, `JobError` when it
    cannot be fetched.
    """
    if not ADDRESS.match(model):
        return _checked(Path(model), checksum)
    if not re.match(r"https?://", model, re.IGNORECASE):
        raise UsageError(
            f"model: an address begins with https:// or http://, got {model!r}; a file is given by its path"
        )
    url = checked_url(model, MODEL.key)
    if checksum is None:
        raise UsageError(
            f"model: {model} is an address, which needs the checksum of what lies there; whoever shares the model "
            "states it (`export format=zip` prints it, `sha256sum FILE` too): add model_sha256=64_HEXADECIMAL_DIGITS"
        )
    return _fetched(url, checksum.lower(), cache_folder(cache))


def refuse_address(key: str, text: str) -> None:
    """Raise `UsageError` for an address where only a file or folder of this machine will do."""
    if ADDRESS.match(text):
        raise UsageError(
            f"{key}: {text} is an address, and only predict fetches; download it first, and give {key}=PATH "
            "(what predict has fetched lies in its model_cache)"
        )


def _checked(path: Path, checksum: str | None) -> Path:
    if checksum is None:
        return path
    if path.is_dir():
        raise UsageError(f"model_sha256 is of a .zip, but model={path} is a folder; leave it out")
    if path.is_file() and (found := sha256(path)) != checksum.lower():
        raise DataError(f"{path} has the SHA-256 {found}, model_sha256 is {checksum.lower()}")
    return path


def _fetched(url: str, checksum: str, cache: Path) -> Path:
    target = cache / f"{checksum}.zip"
    if _is_whole(target, checksum):
        log.info("model: %s is there already, in %s", url, target)
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with hold(cache / f".{checksum}.lock", f"the model {target}") as lock:
        if not _is_whole(target, checksum):
            part = cache / f"{checksum}.part"
            _fetch_whole(url, part, checksum)
            lock.check()
            part.rename(target)
            discard(part)
            log.info("model: %s is kept in %s", url, target)
    return target


def _fetch_whole(url: str, part: Path, checksum: str) -> None:
    """Fetch and compare; what was pieced together from several connections and is wrong is fetched once more."""
    for last in (False, True):
        with show_progress("model") as report:
            resumed = fetch(url, part, report, MODEL)
        found = sha256(part)
        if found == checksum:
            return
        discard(part)
        if last or not resumed:
            raise DataError(f"{url}: what lies there has the SHA-256 {found}, model_sha256 is {checksum}; removed")
        log.warning("model: fetched in several pieces, the SHA-256 is %s; fetching once more from the beginning", found)


def _is_whole(target: Path, checksum: str) -> bool:
    return target.is_file() and sha256(target) == checksum
