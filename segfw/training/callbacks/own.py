"""Callbacks that users bring: named in the configuration, built by their import path."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback

from segfw.core.errors import UsageError
from segfw.core.support.importing import FOREIGN, TARGET, explained, import_object


def build_callbacks(callbacks: Mapping[str, Any]) -> tuple[Callback, ...]:
    """Build each named callback from `{_target_: package.module.Class, argument: value, ...}`.

    Raises `UsageError` that names the key when the class cannot be imported, is no Lightning callback, or refuses its
    arguments.
    """
    return tuple(_build(f"callbacks.{name}", entry) for name, entry in callbacks.items() if entry is not None)


def _build(key: str, entry: Any) -> Callback:
    target = entry.get(TARGET) if isinstance(entry, dict) else None
    if not isinstance(target, str):
        raise UsageError(f"{key} must be a mapping with {TARGET}: package.module.Class, got {entry!r}")
    kind = import_object(target, f"{key}.{TARGET}")
    if not (isinstance(kind, type) and issubclass(kind, Callback)):
        raise UsageError(f"{key}.{TARGET}: {target} is no pytorch_lightning.Callback")
    try:
        return kind(**{argument: value for argument, value in entry.items() if argument != TARGET})
    except FOREIGN as error:
        raise UsageError(f"{key}: {target} refuses its arguments: {explained(error)}") from error
