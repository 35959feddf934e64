"""JSON from files that may come from anywhere."""

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Return what `text` spells; `ValueError` for what is no JSON, and for what is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists or objects are nested too deeply") from error
