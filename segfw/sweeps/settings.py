"""What the trials of a sweep share, and which of it their scores depend on."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType

from segfw.core.settings.training import MACHINE_KEYS

NEUTRAL = (
    "hydra",
    "name",
    "tags",
    "data_root",
    "output_root",
    "data",
    "executor",
    "logger",
    "overwrite",
    "dry_run",
    *MACHINE_KEYS,
)
"""Keys, and groups of keys, that may change from one command of a sweep to the next: where and how fast it runs."""


def shared_settings(config: Mapping[str, Any], searched: Sequence[str]) -> dict[str, Any]:
    """Return dotted key -> value of the composed `config` without what is `searched` and what is neutral."""
    left_out = (*NEUTRAL, *searched)
    return dict(_leaves(config, "", left_out))


def search_path(config: Any) -> list[str]:
    """Return the override that adds the user's folders of YAML files, if there is one."""
    return [str(line) for line in config.hydra.overrides.hydra if str(line).startswith("hydra.searchpath=")]


def groups_of(loader: ConfigLoader, config: Any) -> frozenset[str]:
    """Return the names of the folders of YAML files, of which a key chooses one or more files."""
    return frozenset(loader.get_group_options("", ObjectType.GROUP, overrides=search_path(config)))


def file_name(text: str) -> str:
    """Return `text` as a name of files and of a Hydra option: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)


def _leaves(value: Any, place: str, left_out: Sequence[str]) -> list[tuple[str, Any]]:
    if place in left_out:
        return []
    if isinstance(value, Mapping):
        keys = {str(name): f"{place}.{name}" if place else str(name) for name in value}
        # the hydra node refers to values that exist only while a job runs: it must not be looked into
        return [
            leaf for name, key in keys.items() if key not in left_out for leaf in _leaves(value[name], key, left_out)
        ]
    return [(place, _plain(value))]


def _plain(value: Any) -> Any:
    """Return lists as lists and mappings as dictionaries, so that they are equal to what was read from a file."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
