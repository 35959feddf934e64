"""The configuration as it may be told: dotted key -> value, without cases, paths, hosts and people."""

import getpass
import platform
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

HIDDEN = "(hidden)"
COUNTED = ("train_cases", "val_cases", "sampling.case_weights")
"""Keys whose content names cases; it is told how many there are."""
PLACES = ("store", "previous.folders")
"""Keys whose content is a path, besides those that are declared so."""
_PATH = re.compile(r"[/\\]|^~|^[A-Za-z]:")


def scrub(config: Mapping[str, Any], cases: Collection[str], literal: Collection[str] = ()) -> dict[str, Any]:
    """Return `config` flat, fit to leave this machine.

    `literal`: keys of paths and addresses, which are left out, as are empty mappings. Elsewhere text that looks like a
    path, or holds one of the `cases`, this computer's name or its user's, is `HIDDEN`, and a key that does is left out.
    """
    private = _private_words(cases)
    return {
        key: _scrubbed(value, private)
        for key, value in _flat(config, "")
        if key not in {*literal, *PLACES} and not _tells(key, private)
    }


def scrub_words(words: Collection[str], cases: Collection[str]) -> tuple[str, ...]:
    """Return those of the `words` that tell of no case, path, host or person."""
    private = _private_words(cases)
    return tuple(word for word in words if not _PATH.search(word) and not _tells(word, private))


def scrub_text(text: str, cases: Collection[str]) -> str:
    """Return `text`, or `HIDDEN` where it tells of a case, a path, a host or a person."""
    return str(_scrubbed(text, _private_words(cases)))


def scrub_nested(value: Mapping[str, Any], cases: Collection[str]) -> dict[str, Any]:
    """Return `value` as `scrub` would, but nested as it is and with its empty mappings."""
    scrubbed: dict[str, Any] = _scrubbed(value, _private_words(cases))
    return scrubbed


def _flat(value: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        key = f"{place}{name}"
        if key in COUNTED:
            yield key, None if item is None else len(item)
        elif isinstance(item, Mapping):
            yield from _flat(item, f"{key}.")
        else:
            yield key, item


def _scrubbed(value: Any, private: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return HIDDEN if _PATH.search(value) or _tells(value, private) else value
    if isinstance(value, list | tuple):
        return [_scrubbed(item, private) for item in value]
    if isinstance(value, Mapping):
        kept = {str(key): _scrubbed(item, private) for key, item in value.items()}
        return {key: item for key, item in kept.items() if not _tells(key, private)}
    return value


def _private_words(cases: Collection[str]) -> re.Pattern[str]:
    """Match a case's name, or this computer's or its user's, where it stands alone: a case `a` does not hide `adam`."""
    of_cases = "|".join(re.escape(name) for name in cases) or "(?!)"
    of_host = "|".join(re.escape(word) for word in host_words()) or "(?!)"
    return re.compile(rf"(?<![A-Za-z0-9])(?:{of_cases})(?![A-Za-z0-9])|(?<!\w)(?:{of_host})(?!\w)")


def host_words() -> list[str]:
    """Return the names of this computer and of its user, longest first."""
    host = platform.node()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = ""
    return sorted({host, host.split(".")[0], user} - {""}, key=len, reverse=True)


def _tells(text: str, private: re.Pattern[str]) -> bool:
    return private.search(text) is not None
