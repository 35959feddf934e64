"""Callbacks (and other parts) that users bring: named in the configuration, built by their import path."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pytorch_lightning import Callback

from segfw.core.errors import UsageError
from segfw.core.support.importing import FOREIGN, TARGET, explained, import_object

T = TypeVar("T")


def build_callbacks(callbacks: Mapping[str, Any]) -> tuple[Callback, ...]:
    """Build each named callback from `{_target_: package.module.Class, argument: value, ...}`.

    Raises `UsageError` that names the key when the class cannot be imported, is no Lightning callback, or refuses its
    arguments.
    """
    return tuple(
        build_own(f"callbacks.{name}", entry, Callback) for name, entry in callbacks.items() if entry is not None
    )


def build_own(key: str, entry: Any, wanted: type[T]) -> T:
    """Build what the setting `key` describes; `UsageError` unless it is a `wanted`, one of PyTorch Lightning's classes.

    `entry`: as `build_callbacks` says.
    """
    target = entry.get(TARGET) if isinstance(entry, dict) else None
    if not isinstance(target, str):
        raise UsageError(f"{key} must be a mapping with {TARGET}: package.module.Class, got {entry!r}")
    kind = import_object(target, f"{key}.{TARGET}")
    if not (isinstance(kind, type) and issubclass(kind, wanted)):
        raise UsageError(f"{key}.{TARGET}: {target} is no pytorch_lightning.{wanted.__name__}")
    try:
        return kind(**{argument: value for argument, value in entry.items() if argument != TARGET})
    except FOREIGN as error:
        raise UsageError(f"{key}: {target} refuses its arguments: {explained(error)}") from error
