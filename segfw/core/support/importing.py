"""Code that users bring: found by its import path, with one clear error for whatever may go wrong on the way."""

import importlib
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from segfw.core.errors import UsageError

TARGET = "_target_"
PACKAGE = Path(__file__).parents[1]
LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))
FOREIGN = (Exception, SystemExit)
"""What code of others may raise when it is imported or called.

Everything, because nothing is known of it: exceptions of its own, and `sys.exit` in a module that was meant as a
program. None of it is a bug of ours, so it is told as the user's, with their file and line, and never passed over.
"""


def import_object(target: str, key: str) -> Any:
    """Import `package.module.name`, which the setting `key` asks for; `UsageError` says why it cannot be."""
    module, _, name = target.rpartition(".")
    if not module:
        raise UsageError(f"{key}: cannot import {target!r}: it must be package.module.Name")
    try:
        return getattr(importlib.import_module(module), name)
    except FOREIGN as error:
        missing = isinstance(error, ModuleNotFoundError)
        hint = (
            "; install it, or put its folder on PYTHONPATH; files in the working directory are found by "
            "`python -m segfw`, but not by the program `segfw`"
        )
        raise UsageError(f"{key}: cannot import {target!r}: {explained(error)}{hint if missing else ''}") from error


def explained(error: BaseException) -> str:
    """Return an error of foreign code as 'TypeError: ... (file.py, line 7)': the last line that is theirs."""
    place, text = _place(error), str(error)
    if isinstance(error, SyntaxError):
        place, text = f" ({error.filename}, line {error.lineno})" if error.filename else place, error.msg
    lines = text.strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}{place}"


def _place(error: BaseException) -> str:
    """Return file and line, of the user's own code if it is on the way, else of an installed package's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    own = [frame for frame in frames if not any(Path(frame.filename).is_relative_to(folder) for folder in LIBRARIES)]
    last = (own or frames)[-1:]
    return f" ({last[0].filename}, line {last[0].lineno})" if last else ""


def _is_theirs(filename: str) -> bool:
    path = Path(filename)
    ours = path.is_relative_to(PACKAGE) or path.is_relative_to(Path(importlib.__file__).parent)
    return not ours and not filename.startswith("<") and "torch" not in path.parts
