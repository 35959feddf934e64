"""What the report computes from images, kept on disk so that the next report need not read them again."""

import json
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from segfw.core.errors import UsageError
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import write_text

log = logging.getLogger(__name__)
T = TypeVar("T")


def recall(path: Path, kind: type[T]) -> T | None:
    """Return what `path` holds, None where there is nothing of use. The file's name tells what it was made from."""
    try:
        return from_plain(kind, json.loads(path.read_text(encoding="utf-8")), path.name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, UsageError) as error:
        log.warning("%s is damaged and made again: %s", path, error)
        return None


def keep(path: Path, value: Any) -> None:
    """Write a value to be recalled."""
    write_text(path, json.dumps(to_plain(value), separators=(",", ":")))


def remembered(path: Path, kind: type[T], make: Callable[[], T]) -> T:
    """Return what `path` holds, or make it and write it there."""
    found = recall(path, kind)
    if found is None:
        found = make()
        keep(path, found)
    return found


def forget_others(folder: Path, beginning: str, kept: Collection[Path]) -> None:
    """Remove files in `folder` whose names begin so, but for `kept`: what they were made from is gone."""
    for path in folder.glob(f"{beginning}*.json"):
        if path not in kept:
            path.unlink(missing_ok=True)
