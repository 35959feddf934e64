"""One connection to a server: what it is asked, what its answer is of, and whether a failure may pass."""

import email.utils
import http.client
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import IO, Any

from segfw.core.errors import JobError, UsageError

TIMEOUT = 30.0  # seconds of silence
BLOCK = 2**20
UNQUOTED = "%/:=&?~#+!$,;'@()*[]"  # stays as it is in an address: the rest is escaped, such as spaces and umlauts
RETRIED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)  # and every 5xx


@dataclass(frozen=True)
class Wanted:
    """What is fetched, in the words of the settings.

    `key`: which one holds the address; `instead`, `elsewhere`: what else a user may do about the server, or the disk;
    `needs`: what the space is for, `copies`: how often its size; `most`: bytes that are taken of a server that does not
    say how many come.
    """

    key: str
    instead: str
    elsewhere: str
    needs: str
    copies: int
    most: int


DATASET = Wanted(
    key="task.url",
    instead="or get the archive another way and give task.url=file:///PATH",
    elsewhere="give data_root=FOLDER on another disk",
    needs="the archive with what it holds",
    copies=2,
    most=2**40,
)
MODEL = Wanted(
    key="model",
    instead="or get the .zip another way and give model=PATH",
    elsewhere="give model_cache=FOLDER on another disk",
    needs="the model",
    copies=1,
    most=2**34,
)


class Transient(Exception):
    """A failure that may pass (arguments: reason, seconds that the server asks to wait or None)."""


@dataclass(frozen=True)
class Version:
    """Which version of which file; None for what the server does not say."""

    url: str
    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a strong entity tag, else the time of the last change."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def is_also(self, other: "Version") -> bool:
        """Whether both are surely the same: something is known of both, and all that is known agrees."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.length, other.length))
        known = [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
        return self.url == other.url and bool(known) and all(mine == theirs for mine, theirs in known)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, to http and https only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request; `JobError` for another scheme."""
        if urllib.parse.urlparse(newurl).scheme not in ("http", "https"):
            raise JobError(f"cannot fetch {req.full_url}: it leads to {newurl}; only http and https are followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(url: str, version: Version | None, done: int) -> Any:
    """Ask for `url`, from byte `done` on if it still is that version; redirects are followed."""
    request = urllib.request.Request(url, headers={"User-Agent": "segfw"})
    if version is not None and done:
        request.add_header("Range", f"bytes={done}-")
        if version.validator:
            request.add_header("If-Range", version.validator)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    try:
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError:
        raise
    except (http.client.HTTPException, OSError, UnicodeError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise JobError(
                f"cannot fetch {url}: the server's certificate is not valid ({cause.verify_message})"
            ) from error
        raise Transient(reason_of(cause), None) from error


def checked_url(url: str, key: str) -> str:
    """Return the address as it can be asked for; `UsageError` for one that cannot be. `key`: of the settings."""
    try:
        parsed = urllib.parse.urlsplit(url)
        host, _ = parsed.hostname or "", parsed.port
        host.encode("idna")
    except ValueError as error:
        raise UsageError(f"{key} is no address: {error}") from error
    if parsed.username is not None or parsed.password is not None:
        raise UsageError(
            f"{key} holds a user name or a password, which are not used; fetch it by hand, give file:///PATH"
        )
    if parsed.scheme in ("http", "https") and host:
        return urllib.parse.quote(url, safe=UNQUOTED)
    if parsed.scheme == "file" and host in ("", "localhost") and parsed.path.strip("/"):
        return url
    raise UsageError(
        f"{key} must begin with http://HOST/, https://HOST/ or file:///PATH, got {url!r}"
        + ("; ftp is not used" if parsed.scheme.startswith("ftp") else "")
    )


def version_of(url: str, response: Any) -> Version:
    """Read which version an answer is of; a length that is no number of bytes counts as not said."""
    headers = response.headers
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        total = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", "").strip())
        length = total[1] if total else ""
    else:
        length = headers.get("Content-Length", "").strip() if "Transfer-Encoding" not in headers else ""
    known = re.fullmatch(r"[0-9]{1,18}", length)
    return Version(url, headers.get("ETag"), headers.get("Last-Modified"), int(known[0]) if known else None)


def reason_of(error: object) -> str:
    """Say why a connection failed."""
    if isinstance(error, TimeoutError):
        return f"the server was silent for {TIMEOUT:.0f} s"
    return str(error) or type(error).__name__


def retry_after(headers: Message) -> float | None:
    """Return the seconds that Retry-After asks for, given as a number or a date; None without a readable one."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    date = email.utils.parsedate_tz(value)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
