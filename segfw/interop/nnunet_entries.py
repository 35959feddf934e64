"""What a plans file of nnU-Net must hold under a key."""

from typing import Any

from segfw.core.errors import UsageError

_JSON_WORDS: dict[type, str] = {dict: "an object", list: "a list", str: "text", int: "an integer"}


def entry_of(content: dict[str, Any], key: str, *kinds: type, place: str = "") -> Any:
    """Return what stands under `key`; `UsageError` with its place unless it is there, and of one of `kinds`."""
    dotted = f"{place}.{key}" if place else key
    if key not in content:
        raise UsageError(f"the key {dotted!r} is missing")
    if kinds and not isinstance(content[key], kinds):
        wanted = " or ".join(_JSON_WORDS[kind] for kind in kinds)
        raise UsageError(f"{dotted} must be {wanted}, got {content[key]!r}")
    return content[key]
