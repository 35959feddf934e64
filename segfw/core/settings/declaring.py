"""How a setting is declared: a dataclass field with a default and its meaning."""

from dataclasses import field
from typing import Any


def setting(default: Any, help: str, literal: bool = False) -> Any:
    """Declare a setting with its default and its meaning (with unit and range).

    `literal`: a path or an address, which the command line takes as it is typed, whatever characters it holds.
    """
    metadata = {"help": help, "literal": literal}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)
