"""Code that users bring: found by its import path, with one clear error for whatever may go wrong on the way."""

import importlib
import traceback
from pathlib import Path
from typing import Any

from segfw.core.errors import UsageError

TARGET = "_target_"
PACKAGE = Path(__file__).parents[1]
FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What code of others may raise when it is imported or called; anything else is a bug to be seen with its traceback."""


def import_object(target: str, key: str) -> Any:
    """Import `package.module.name`, which the setting `key` asks for; `UsageError` says why it cannot be."""
    module, _, name = target.rpartition(".")
    if not module:
        raise UsageError(f"{key}: cannot import {target!r}: it must be package.module.Name")
    try:
        return getattr(importlib.import_module(module), name)
    except FOREIGN_ERRORS as error:
        missing = isinstance(error, ModuleNotFoundError)
        hint = "; it must be installed or lie on PYTHONPATH, which `python -m segfw` begins with the working directory"
        raise UsageError(f"{key}: cannot import {target!r}: {error}{hint if missing else ''}") from error


def explained(error: BaseException) -> str:
    """Return an error of foreign code as 'TypeError: ... (file.py, line 7)': the last line that is theirs."""
    names = [(frame, Path(frame.filename)) for frame in traceback.extract_tb(error.__traceback__)]
    frames = [frame for frame, path in names if "torch" not in path.parts and not path.is_relative_to(PACKAGE)]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    text = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {text[0]}{place}"
