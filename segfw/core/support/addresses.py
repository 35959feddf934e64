"""Addresses such as s3://bucket/scan.nii.gz, and the paths that stand for them: where their files lie in a cache.

The path is the cache's folder, `segfw-addresses`, `s3:`, and what follows `s3://`, so that it tells its address, is a
path wherever one is needed, and holds no password: what an address says before `@` and after `?` is left out.
"""

import re
from pathlib import Path

from segfw.core.errors import UsageError

DATA_CACHE = "~/.cache/segfw/data"
"""Where files that were fetched lie, if nothing else is said."""

MODEL_CACHE = "~/.cache/segfw/models"
"""Where models that were fetched lie, likewise."""

MIRROR = "segfw-addresses"
"""The folder in a cache below which paths stand for addresses; nobody's own folder has this name."""

_ADDRESS = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]+)://(?P<host>[^/]*)(?P<path>.*)", re.DOTALL)
_MIRRORED = re.compile(rf"/{MIRROR}/(?P<scheme>[a-z][a-z0-9+.-]+):/(?P<rest>.+)", re.DOTALL)
_USER = re.compile(r"\b([a-z][a-z0-9+.-]+://)[^/\s@'\"]*@", re.IGNORECASE)
_QUERY = re.compile(r"\b(https?://[^\s?#'\"]*)[?#][^\s'\"]*", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether `text` is an address rather than a path."""
    return _ADDRESS.match(text) is not None


def bare(address: str) -> str:
    """Return an address without user, password and, of http, query; any other text as it is."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return address
    scheme = match["scheme"].lower()
    text = f"{scheme}://{match['host'].rpartition('@')[2]}{match['path']}"
    return re.split(r"[?#]", text, maxsplit=1)[0] if scheme.startswith("http") else text


def without_secrets(text: str) -> str:
    """Return a message, each address in it without user, password and query."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


def cache_folder(cache: str) -> Path:
    """Return the folder of a cache: what is given is literal, `~` begins the home in the two defaults alone."""
    return Path(cache).expanduser() if cache in (DATA_CACHE, MODEL_CACHE) else Path(cache)


def mirror_path(address: str, cache: str) -> Path:
    """Return the path below `cache` that stands for `address`; `UsageError` for one that no path can stand for."""
    shown = bare(address)
    match = _ADDRESS.fullmatch(shown)
    rest = f"{match['host']}{match['path']}".rstrip("/") if match else ""
    parts = rest.split("/")
    if not match or match["scheme"] == "file" or any(part in ("", ".", "..") for part in parts) or "\0" in rest:
        raise UsageError(
            f"{shown!r} is no address of data: s3://BUCKET/PATH, gs://BUCKET/PATH or https://HOST/PATH are allowed, "
            "without empty parts, . and .. (for a file of this machine, give its path)"
        )
    return cache_folder(cache).absolute() / MIRROR / f"{match['scheme']}:" / rest


def address_of(path: str | Path) -> str | None:
    """Return the address that a path made by `mirror_path` stands for; None for any other path."""
    match = _MIRRORED.search(str(path))
    return f"{match['scheme']}://{match['rest']}" if match else None


def cache_of(path: str | Path) -> Path:
    """Return the cache that a path made by `mirror_path` lies in."""
    text = str(path)
    match = _MIRRORED.search(text)
    if match is None:
        raise ValueError(f"{text} stands for no address")
    return Path(text[: match.start()] or "/")


def place_of(key: str, text: str, cache: str) -> str:
    """Return what the setting `key` names as a path: `text`, or the path that stands for the address it is.

    `UsageError` for an address with a password or a query, as settings are written to logs.
    """
    if not is_address(text):
        return text
    if len(bare(text)) < len(text):
        raise UsageError(
            f"{key}={bare(text)} came with a user name, a password or a query, and commands are written to "
            "logs: state credentials where fsspec, AWS or ~/.netrc look for them, or the address in a list of files"
        )
    return str(mirror_path(text, cache))


def refuse_address(key: str, text: str | None) -> None:
    """Raise `UsageError` for an address where a place on a file system is needed."""
    if text is not None and is_address(text):
        raise UsageError(f"{key}={bare(text)} must be a path: addresses are for raw data and images to predict")
