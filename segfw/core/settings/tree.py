"""The settings of a command as text: all of them as a tree, and in one line those that are not the defaults."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from segfw.core.settings.differences import flatten
from segfw.core.support.conversion import to_plain

NOT_TOLD = ("task", "data_root", "output_root", "print_config")
"""What says which data are used and what is shown, rather than how."""


def tree_text(settings: Any) -> str:
    """Return every setting of a settings class, or of a mapping, as a tree of keys with their values."""
    return "\n".join(("settings", *_branches(to_plain(settings), ""))) + "\n"


def changed_text(settings: Any, declared: Any) -> str:
    """Return, as a command line would have them, the settings that differ from the `declared` ones."""
    now, before = (flatten(to_plain(each)) for each in (settings, declared))
    changed = {key: value for key, value in now.items() if key not in before or before[key] != value}
    return " ".join(f"{key}={_written(value)}" for key, value in changed.items() if key.split(".")[0] not in NOT_TOLD)


def _branches(mapping: Mapping[str, Any], lead: str) -> Iterator[str]:
    for number, (key, value) in enumerate(mapping.items(), 1):
        branch, stem = ("└── ", "    ") if number == len(mapping) else ("├── ", "│   ")
        if isinstance(value, Mapping) and value:
            yield f"{lead}{branch}{key}"
            yield from _branches(value, lead + stem)
        else:
            yield f"{lead}{branch}{key}: {_written(value)}"


def _written(value: Any) -> str:
    """Write a value as a command line has it, text without quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {_written(item)}' for key, item in value.items())}}}"
    return json.dumps(value)
