"""What may be wrong with a case, and how it is told: the vocabulary of verification."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one case. `kind` is a word to filter by; `message` says what was found and allowed.

    `file`: the file at fault; empty where no single one is.
    """

    case: str
    severity: Severity
    kind: str
    message: str
    file: str = ""
