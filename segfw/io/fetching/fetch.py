"""Fetch one file over HTTP so that any interruption costs seconds, and never glue two versions of it together.

The bytes go to a `.part` file; beside it, `.part.json` says which version of which file they begin. They are gone on
with only if the server confirms that version (RFC 9110, If-Range and Content-Range); else the file is begun anew.
"""

import http.client
import json
import logging
import re
import shutil
import time
import urllib.error
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

from segfw.core.errors import JobError
from segfw.core.support.files import write_text
from segfw.io.fetching.connection import (
    BLOCK,
    DATASET,
    RETRIED,
    Transient,
    Version,
    Wanted,
    open_url,
    reason_of,
    retry_after,
    version_of,
)

log = logging.getLogger(__name__)

Report = Callable[[int, int | None], None]
ATTEMPTS = 5  # in a row that get hardly any further: by less than both of the next two
STEP, STEP_SHARE = 2**20, 1e-3  # bytes, share of the file
PAUSE = 1.0  # seconds before the second attempt, doubled each time
MAX_PAUSE = 60.0
MAX_RETRY_AFTER = 300.0  # seconds that a server may ask us to wait
SPACE_STEP = 2**28  # bytes between two looks at the free space
SPARE = 2**26  # bytes left free on the disk


def fetch(url: str, part: Path, report: Report, wanted: Wanted = DATASET) -> bool:
    """Fetch `url` into `part`, going on after interruptions as long as there is progress.

    Returns whether the file was written by more than one connection. `report(done, total)` is called before each
    write; `total` is None where the server does not say. Raises `JobError` that says how to go on; `part` is kept.
    """
    failures, furthest = 0, 0
    while True:
        wait: float | None = None
        try:
            return _connect(url, part, report, wanted)
        except Transient as error:
            reason, wait = error.args
        now = _size(part)
        failures = 0 if now - furthest > _least_step(part) else failures + 1
        furthest = max(furthest, now)
        if failures >= ATTEMPTS:
            raise JobError(f"cannot fetch {url}: {reason}; {_kept(part)}, {wanted.instead}")
        if wait is not None and wait > MAX_RETRY_AFTER:
            raise JobError(f"cannot fetch {url}: {reason}, and asks to come back in {wait:.0f} s; {_kept(part)}")
        pause = min(PAUSE * 2 ** max(0, failures - 1), MAX_PAUSE) if wait is None else wait
        log.warning("%s; trying again in %.0f s", reason, pause)
        time.sleep(pause)


def _least_step(part: Path) -> float:
    """Return the bytes that a connection must bring to count as progress, so that a trickle is given up."""
    version = _load_version(part)
    return 0 if version is None or version.length is None else min(STEP, STEP_SHARE * version.length)


def discard(part: Path) -> None:
    """Remove a partial file and what is known of it."""
    part.unlink(missing_ok=True)
    _description(part).unlink(missing_ok=True)


def require_space(folder: Path, needed: int, what: str, elsewhere: str = DATASET.elsewhere) -> None:
    """Raise `JobError` where fewer than `needed` bytes are free."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise JobError(
            f"{folder} has {free / 1e9:.2f} GB free; {what} needs {needed / 1e9:.2f} GB; free some or {elsewhere}"
        )


def _connect(url: str, part: Path, report: Report, wanted: Wanted) -> bool:
    """Append what one connection gives to `part`; return whether an earlier one gave some of it.

    Raises `Transient` while something is missing that may come, `JobError` otherwise.
    """
    version = _load_version(part)
    if part.exists() and (version is None or version.url != url):
        log.warning("%s is not of %s, or it is not known of what; begun anew", part, url)
        discard(part)
        version = None
    done = _size(part)
    if version is not None and done and done == version.length:
        report(done, done)
        return True
    try:
        response = open_url(url, version, done)
    except urllib.error.HTTPError as error:
        with error:
            _require_range_refused(error, url, part, wanted)
        return True
    with response:
        begin, total = _place(response, version, url, part, done)
        _append(response, part, (begin, total), report, wanted)
    return begin > 0


def _place(response: Any, version: Version | None, url: str, part: Path, done: int) -> tuple[int, int | None]:
    """Return the byte that the answer begins with and the size of the whole; at 0 `part` is begun anew."""
    found = version_of(url, response)
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if version is None or not begin or int(begin[1]) != done or not version.is_also(found):
            raise _changed(part)
        return done, version.length if found.length is None else found.length
    if response.status != HTTPStatus.OK:
        raise JobError(f"cannot fetch {url}: the server answers {response.status} {response.reason}, without a file")
    if done:
        log.warning("the server gives the file from its beginning; the %.1f MB of before are dropped", done / 1e6)
    part.unlink(missing_ok=True)
    try:
        write_text(_description(part), json.dumps(asdict(found)))
    except OSError as error:
        raise _cannot_write(part, error) from error
    return 0, found.length


def _changed(part: Path) -> Transient:
    discard(part)
    return Transient("the server's file is not the one that the partial file begins; begun anew", 0.0)


def _require_range_refused(error: urllib.error.HTTPError, url: str, part: Path, wanted: Wanted) -> None:
    """Return if the error status says that nothing is missing; raise what it means otherwise."""
    done = _size(part)
    if done and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        if error.headers.get("Content-Range") == f"bytes */{done}":
            return
        raise _changed(part)
    answer = f"the server answers {error.code} {str(error.reason or '').split(chr(10))[0]}".rstrip()
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code in RETRIED:
        raise Transient(answer, retry_after(error.headers))
    raise JobError(f"cannot fetch {url}: {answer}; check {wanted.key}, {wanted.instead}")


def _append(response: Any, part: Path, place: tuple[int, int | None], report: Report, wanted: Wanted) -> None:
    """Write the body of `response` at the end of `part`. `place`: the byte that this is, and the size of the whole."""
    done, total = place
    looked = -1
    try:
        with part.open("ab", buffering=0) as file:
            while True:
                if done // SPACE_STEP != looked:
                    looked = done // SPACE_STEP
                    needed = done * (wanted.copies - 1) if total is None else wanted.copies * total - done
                    stated = "" if total is None else f" (the server states {total / 1e9:.2f} GB)"
                    require_space(part.parent, needed, f"{wanted.needs}{stated}", wanted.elsewhere)
                block = _read(response)
                report(done, total)
                if not block:
                    break
                if total is None and done + len(block) > wanted.most:
                    discard(part)
                    raise JobError(
                        f"the server does not say how long {wanted.needs} is, and has sent more than "
                        f"{wanted.most / 1e9:.2f} GB; what was fetched was removed, {wanted.instead}"
                    )
                done += _write(file, block)
    except OSError as error:
        raise _cannot_write(part, error) from error
    if total is not None and done < total:
        raise Transient(f"the connection was closed early, after {done} of {total} bytes stated", None)


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read1(BLOCK))
    except (http.client.HTTPException, OSError) as error:
        raise Transient(reason_of(error), None) from error


def _write(file: Any, block: bytes) -> int:
    """Write all of `block`; an unbuffered file may take less at a time."""
    written = 0
    while written < len(block):
        written += file.write(block[written:])
    return written


def _cannot_write(part: Path, error: OSError) -> JobError:
    return JobError(f"cannot write {part}: {error.strerror or error}; {_kept(part)}")


def _load_version(part: Path) -> Version | None:
    """Return what is known of `part`; None where that is nothing."""
    try:
        content = json.loads(_description(part).read_text(encoding="utf-8"))
        return Version(**content) if part.is_file() else None
    except (OSError, ValueError, TypeError):
        return None


def _description(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _kept(part: Path) -> str:
    if not _size(part):
        return "give the same command again"
    return f"{_size(part) / 1e6:.1f} MB are kept in {part} and the same command goes on from there"
