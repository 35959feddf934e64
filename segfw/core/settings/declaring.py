"""How a setting is declared: a dataclass field with a default and its meaning."""

from dataclasses import field
from typing import Any


def setting(default: Any, help: str, literal: bool = False, gathers: bool = False) -> Any:
    """Declare a setting with its default and its meaning (with unit and range).

    `literal`: a path or an address, which the command line takes as it is typed, whatever characters it holds.
    `gathers`: a mapping of parts of the user's own; such a part, NAME with its `_target_`, may be given beside it, too.
    """
    metadata = {"help": help, "literal": literal, "gathers": gathers}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)
