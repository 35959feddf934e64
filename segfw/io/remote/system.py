"""The only talk to fsspec: what lies at an address, and its bytes; failures as one line that names the address.

Credentials and endpoints are fsspec's own: FSSPEC_S3_ENDPOINT_URL and the like, ~/.config/fsspec, AWS's files and
variables, ~/.netrc.
"""

import base64
import binascii
import errno
import hashlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.support.addresses import bare, without_secrets
from segfw.core.support.attempts import attempt

log = logging.getLogger(__name__)
R = TypeVar("R")

INSTALL = 'pip install "segfw[cloud]"  (gs:// also: pip install gcsfs)'
ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt, doubled each time
CONNECT_SECONDS, SILENT_SECONDS = 30, 60
UNLISTED = ("http", "https")
HERE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)  # what only this machine's disk says
MISSING = ("404", "410", "NoSuchBucket", "NoSuchKey")
DENIED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
TAGS = ("md5Hash", "ETag", "etag", "Content-MD5")
TIMES = ("LastModified", "Last-Modified", "updated", "mtime", "created")


class NotThere(DataError):
    """Nothing lies at the address."""


class Denied(JobError):
    """The server does not let us read."""


class Unreachable(JobError):
    """The server did not answer, or not with what was asked, several times."""


@dataclass(frozen=True)
class RemoteState:
    """Which version of a file lies at an address: bytes, and the server's tag, or its time where it gives no tag.

    `md5`: what that tag says of the content, where it may be one.
    """

    size: int
    version: str
    md5: str | None = None


def can_list(address: str) -> bool:
    """Whether its server tells what lies in a folder."""
    return address.split("://")[0] not in UNLISTED


def look_at(address: str) -> RemoteState | None:
    """Return the state of a file, None for a folder. `NotThere` for neither."""
    system, path = _system(address)
    info = _asked(address, lambda: system.info(path))
    return None if info.get("type") == "directory" else _state(address, info)


def list_below(address: str) -> dict[str, RemoteState]:
    """Return {address: state} of the files in a folder, or of the file itself; `NotThere` where there is none."""
    system, root = _system(address)
    root = root.rstrip("/")
    found = _asked(address, lambda: dict(system.find(root, detail=True)))
    states = {
        address.rstrip("/") + name.removeprefix(root): _state(address, info)
        for name, info in found.items()
        if not name.endswith("/") and name.startswith(root)  # a key that ends so is an empty folder's mark
    }
    if not states:
        raise NotThere(f"there is no file at or below {bare(address)}")
    return states


def fetch(address: str, state: RemoteState, target: Path) -> None:
    """Write the file to `target`. `Unreachable` where what comes has another size, or twice another MD5, than stated.

    A store that encrypts states a tag that looks like an MD5 and is none: what comes twice alike is as it is stored.
    """
    system, path = _system(address)
    seen: set[str] = set()

    def get() -> None:
        system.get_file(path, str(target))
        size = target.stat().st_size
        if size != state.size:
            raise ConnectionError(f"{size} bytes came, {state.size} were stated")
        if state.md5 is not None and (found := _md5(target)) != state.md5 and found not in seen:
            seen.add(found)
            raise ConnectionError(f"its MD5 is {found}, {state.md5} was stated")

    _asked(address, get)


def _system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, which remembers no listing, and the path in it."""
    scheme = address.split("://")[0]
    try:
        import fsspec

        options: dict[str, Any] = {"use_listings_cache": False}
        if scheme in UNLISTED:
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
            given = fsspec.config.conf.get(scheme, {}).get("client_kwargs", {})
            headers = {"Accept-Encoding": "identity", **given.get("headers", {})}
            as_stored = {"timeout": timeout, "trust_env": True, "auto_decompress": False}
            options["client_kwargs"] = {**as_stored, **given, "headers": headers}
        system = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise UsageError(f"{bare(address)} needs a package that is not installed: {INSTALL}") from error
    except ValueError as error:
        raise UsageError(f"{bare(address)}: data are read by s3://, gs:// and https://, not by {scheme}://") from error
    return system, address if scheme in UNLISTED else str(system._strip_protocol(address))


def _asked(address: str, ask: Callable[[], R]) -> R:
    """Return what `ask` gives, asking again where that may help; the error of the last attempt is told."""
    shown = bare(address)
    for number in range(1, ATTEMPTS + 1):
        asked = attempt(ask)  # each file system has errors of its own
        if asked.error is None:
            return asked.result()
        reason = _reason_to_ask_again(address, asked.error)
        if number == ATTEMPTS:
            raise Unreachable(f"cannot read {shown}: {reason} ({ATTEMPTS} attempts)") from asked.error
        pause = PAUSE * 2 ** (number - 1)
        log.warning("%s: %s; trying again in %.0f s", shown, reason, pause)
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _reason_to_ask_again(address: str, error: BaseException) -> str:
    """Return in words what may be over soon; for what stays as it is, raise the error that tells it."""
    shown, cause = bare(address), _cause(error)
    if isinstance(cause, OSError) and cause.errno in HERE and not isinstance(cause, PermissionError):
        raise error
    reason = without_secrets(" ".join(str(cause).replace(address, shown).split()) or type(cause).__name__)
    if isinstance(cause, FileNotFoundError) or _answer(cause) in MISSING:
        why = "" if reason in shown else f" ({reason})"
        raise NotThere(f"there is nothing at {shown}{why}") from error
    if isinstance(cause, PermissionError) or _answer(cause) in DENIED or "Credentials" in type(cause).__name__:
        raise Denied(
            f"{shown} may not be read: {reason}; credentials are taken from where fsspec, AWS and ~/.netrc keep them"
        ) from error
    return reason


def _cause(error: BaseException) -> BaseException:
    """Return what lies behind a `FileNotFoundError`: fsspec's http raises it for whatever a server does."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _answer(cause: BaseException) -> str:
    """Return the status of http, or the word of S3, that a server has answered with; empty for no answer."""
    if (status := getattr(cause, "status", None)) is not None:
        return str(status)
    response = getattr(cause, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _state(address: str, info: dict[str, Any]) -> RemoteState:
    size = info.get("size")
    if not isinstance(size, int):
        raise DataError(f"{bare(address)}: the server does not say how many bytes the file has")
    tag = next((str(info[key]).strip('"') for key in TAGS if info.get(key)), None)
    changed = next((str(info[key]) for key in TIMES if info.get(key)), "")
    return RemoteState(size, tag or changed, _stated_md5(address, tag))


def _stated_md5(address: str, tag: str | None) -> str | None:
    """Return the MD5 that a tag may be: hexadecimal in s3, in base64 in gs. Elsewhere a tag may be anything."""
    if tag is None:
        return None
    if address.startswith(("s3:", "s3a:")) and re.fullmatch("[0-9a-f]{32}", tag):
        return tag
    if address.startswith(("gs:", "gcs:")):
        try:
            return base64.b64decode(tag, validate=True).hex() if len(tag) == 24 else None
        except binascii.Error:
            return None
    return None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
