"""JSON that people and other programs write, read without losing anything and without danger."""

import json
from typing import Any


def load_strict_json(text: str | bytes) -> Any:
    """Return the content of `text`; `ValueError` for what is no JSON, a key given twice, and too deep a nesting."""
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return content
