"""Places on this machine, as people write them: what a packaged model must not tell, and would not work elsewhere."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ABSOLUTE = re.compile(
    r"""(?<![^\s"'(=,;])     # where a word begins, so that https://... and and/or are none
    (file:/|~[\w.-]*/|/[\w.~-]+/|\A/\S+\Z|[A-Za-z]:[\\/](?!/)|\\\\\w)""",
    re.VERBOSE,
)


def place_in(text: str) -> str | None:
    """Return the part of `text` that looks like an absolute path, up to the next space; None if there is none."""
    found = ABSOLUTE.search(text)
    return text[found.start() :].split()[0] if found else None


def places_in(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of each text below `value` that holds an absolute path or names a file that is there."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from ((key, text) for _, text in places_in(key, name))
            yield from places_in(f"{key}.{name}", entry)
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from places_in(f"{key}.{number}", entry)
    elif isinstance(value, str) and (place_in(value) is not None or _is_file(value)):
        yield key, value


def _is_file(text: str) -> bool:
    try:
        return bool(text) and Path(os.path.expanduser(text)).is_file()
    except (OSError, ValueError):  # longer than a name can be, or a zero character
        return False
