"""What each training cost, and on what and with what it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segfw.core.support.words import in_words, readable_size
from segfw.tracking.numbers import NOTHING
from segfw.tracking.page import columns, heading, paragraph, table


@dataclass(frozen=True)
class RunCost:
    """What a finished fold took. None and empty: not recorded.

    `training_seconds`: of training, over all commands; `seconds`: of the command that finished it, validation included.
    """

    configuration: str
    fold: str
    epochs: int
    ended: str
    seconds: float
    training_seconds: float | None = None
    machine: str = ""
    peak_memory_gb: float | None = None
    peak_device_memory_gb: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def runs_section(runs: Sequence[RunCost], versions: Mapping[str, str]) -> str:
    """Return the table of runs, leaving out columns that nothing is known for, and versions; `versions`: the page's."""
    if not runs:
        return paragraph("No fold is finished yet.", quiet=True) + _versions(versions)
    cells = [_cells(run) for run in runs]
    kept = [name for name in cells[0] if any(row[name] != NOTHING for row in cells)]
    rows = [
        (f"{run.configuration}, fold {run.fold}", *(row[name] for name in kept))
        for run, row in zip(runs, cells, strict=True)
    ]
    total = sum(run.training_seconds or 0.0 for run in runs)
    told = f" All trainings together: {in_words(total)}." if total else ""
    note = f"The last command’s time includes validation on whole cases.{told}"
    parts = [table(("configuration, fold", *kept), rows), paragraph(note, quiet=True)]
    made = _made_with(runs)
    page = heading("This page", 3) + _versions(versions)
    return "".join(parts) + (columns(heading("Trainings", 3) + made, page) if made else page)


def _cells(run: RunCost) -> dict[str, str]:
    return {
        "epochs": str(run.epochs),
        "ended by": run.ended,
        "training": _duration(run.training_seconds),
        "last command": _duration(run.seconds),
        "memory": _size(run.peak_memory_gb),
        "GPU memory": _size(run.peak_device_memory_gb),
        "machine": run.machine or NOTHING,
    }


def _made_with(runs: Sequence[RunCost]) -> str:
    """Return a table of what the trainings were made with; where they differ, every version."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, version in run.versions.items():
            found.setdefault(name, {})[version] = None
    return table(("made with", "version"), [(name, ", ".join(each)) for name, each in found.items()]) if found else ""


def _versions(versions: Mapping[str, str]) -> str:
    return table(("made with", "version"), list(versions.items())) if versions else ""


def _size(gigabytes: float | None) -> str:
    return NOTHING if gigabytes is None else readable_size(1e9 * gigabytes)


def _duration(seconds: float | None) -> str:
    return in_words(seconds) if seconds else NOTHING
