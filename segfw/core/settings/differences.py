"""Which keys of several resolved configurations differ."""

from collections.abc import Mapping, Sequence
from typing import Any


def flatten(config: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return dotted key -> value of nested mappings; an empty mapping is a value, and so is a list."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        dotted = f"{place}{key}"
        flat |= flatten(value, f"{dotted}.") if isinstance(value, Mapping) and value else {dotted: value}
    return flat


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return, sorted, each dotted key whose values are not all equal, with those values; None for a key not there."""
    keys = sorted({key for config in configs for key in config})
    values = {key: [config.get(key) for config in configs] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}
