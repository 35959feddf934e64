"""Durations as Lightning writes them: days, hours, minutes, seconds."""

import re

from segfw.core.errors import UsageError

_SECONDS = (86400, 3600, 60, 1)


def parse_duration(text: str, key: str) -> int:
    """Return the seconds of `text`, DD:HH:MM:SS; `UsageError` that names `key` for another form and for none at all."""
    found = re.fullmatch(r"(\d{1,3}):([01]\d|2[0-3]):([0-5]\d):([0-5]\d)", text.strip(), re.ASCII)
    seconds = sum(int(part) * unit for part, unit in zip(found.groups(), _SECONDS, strict=True)) if found else 0
    if not seconds:
        raise UsageError(
            f"{key} must be a time above zero as DD:HH:MM:SS (00:12:00:00 is twelve hours; in a YAML file within "
            f"quotes), got {text!r}"
        )
    return seconds
