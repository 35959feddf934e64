"""The scores of a validation as they arise: a file of one line of JSON for each case, which a later command reads.

Each line says what it was made from, so that those of other weights are known; a case whose line was cut off by a
killed process is scored again. Appending takes the same time for the last of ten thousand cases as for the first.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segfw.core.errors import ArtefactError
from segfw.core.scoring.metrics import CaseMetrics, summarize, summary_from_plain, summary_to_plain
from segfw.core.support.files import write_text, writing


def begin_scored(path: Path, made_from: dict[str, Any], scored: Iterable[CaseMetrics]) -> None:
    """Write the file anew with the cases that are `scored` already, and without lines of other weights."""
    write_text(path, "".join(_line(made_from, case) for case in scored))


def add_scored(path: Path, made_from: dict[str, Any], case: CaseMetrics) -> None:
    """Add a case to the file that `begin_scored` wrote; `WriteError` where the system does not let it."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(_line(made_from, case))
        file.flush()
        os.fsync(file.fileno())


def load_scored(path: Path, made_from: dict[str, Any]) -> tuple[CaseMetrics, ...]:
    """Return the cases of a file that were scored of the same; none where there is no file."""
    cases = (_case(line, _hash(made_from)) for line in _text(path).splitlines())
    return tuple(case for case in cases if case is not None)


def _line(made_from: dict[str, Any], case: CaseMetrics) -> str:
    return json.dumps({"made_from": _hash(made_from), **summary_to_plain(summarize([case]))["cases"][0]}) + "\n"


def _case(line: str, wanted: str) -> CaseMetrics | None:
    try:
        plain = json.loads(line)
        return summary_from_plain({"cases": [plain]}).cases[0] if plain["made_from"] == wanted else None
    except (ValueError, KeyError, TypeError, ArtefactError):
        return None


def _hash(made_from: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
