"""Addresses among the settings: of raw data they become paths in the cache, elsewhere they are refused."""

import dataclasses
from typing import Any, TypeVar

from segfw.core.settings.schema import TaskSettings
from segfw.core.support.addresses import place_of, refuse_address

T = TypeVar("T")

ADDRESSES = ("data_root", "input")
"""Keys of raw data, which may lie at addresses where the command has a `data_cache`."""
PATHS = ("output_root", "output", "data_cache", "predictions", "references", "images", "labels", "config_dir")
"""Keys of what lies on a file system."""


def settings_in_cache(settings: T) -> T:
    """Return the settings with a path in the cache for each address of raw data; only those may be addresses."""
    cache = getattr(settings, "data_cache", None)
    for key in PATHS if cache is not None else (*PATHS, *ADDRESSES):
        if isinstance(text := getattr(settings, key, None), str):
            refuse_address(key, text)
    task = getattr(settings, "task", None)
    if isinstance(task, TaskSettings):
        refuse_address("task.label_folder", task.label_folder)
    if cache is None:
        refuse_address("task.folder", getattr(task, "folder", None))
        return settings
    changed: dict[str, Any] = {}
    for key in ADDRESSES:
        if isinstance(text := getattr(settings, key, None), str):
            changed[key] = place_of(key, text, cache)
    if isinstance(task, TaskSettings):
        changed["task"] = dataclasses.replace(task, folder=task.folder and place_of("task.folder", task.folder, cache))
    return dataclasses.replace(settings, **changed)  # type: ignore[type-var]
