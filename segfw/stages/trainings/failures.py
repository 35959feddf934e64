"""Why a training has failed, kept in its folder until it is begun again."""

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from segfw.core.errors import ArtefactError, SegfwError, TimeIsOver
from segfw.core.support.attempts import on_error
from segfw.core.support.conversion import from_plain
from segfw.core.support.files import write_text
from segfw.core.support.locks import Lock
from segfw.training.run import FAILED, TRAIN_LOG
from segfw.workspace import load_yaml, to_yaml

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """When a training failed (local time, ISO 8601), why in one line, and the log that tells more."""

    when: str
    reason: str
    log: str


def load_failure(folder: Path) -> Failure | None:
    """Return why the training in `folder` has failed; None where nothing says that it has."""
    path = folder / FAILED
    return from_plain(Failure, load_yaml(path), str(path)) if path.exists() else None


def forget_failure(folder: Path) -> None:
    """Take an earlier failure back: the training begins again."""
    (folder / FAILED).unlink(missing_ok=True)


def noting_failure(folder: Path, lock: Lock) -> AbstractContextManager[None, None]:
    """Leave in `folder` why the block has failed, whatever it was; an interruption and used-up time are no failures.

    Nothing is left where another command holds the `lock` by now: the folder is its own.
    """
    return on_error(partial(_note, folder, lock))


def _note(folder: Path, lock: Lock, error: BaseException) -> None:
    if isinstance(error, TimeIsOver):
        return
    lines = str(error).splitlines() or [""]
    reason = lines[0] if isinstance(error, SegfwError) else f"unexpected {type(error).__name__}: {lines[0]}"
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        lock.check()
        text = to_yaml(Failure(when, reason, str(_log_file(folder))), "Removed when the training is begun again.")
        write_text(folder / FAILED, text)
    except (ArtefactError, OSError) as hindrance:
        log.warning("why %s has failed is not kept: %s", folder, hindrance)


def _log_file(folder: Path) -> Path:
    """Return the command's log, which has tracebacks, or the run's own where the command keeps none."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    return Path(files[0].baseFilename) if files else folder / TRAIN_LOG
