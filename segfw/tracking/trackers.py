"""What a training is tracked by: Protocols to which W&B, TensorBoard, MLflow and users' own loggers are fitted.

Every tracker keeps scalars; what further methods it has says what else it is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""`(height, width, 3)`, RGB."""
Cell = str | float | int | None | Path
"""Of a table; a path is that of a PNG."""


class RunEnd(Enum):
    """How a run has ended: done, by an error, or from outside before it was done, so that it may go on."""

    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a training, or of a selection.

    `project`, `group` (task, plan and configuration) and `name` (variant and fold) are what it is found by; `kind` is
    "train" or "select"; `folder`: its folder on disk, where a tracker keeps what it goes on with; `root`: folder of the
    dataset's outputs, for a tracker's own files; `config`: dotted key -> value, scrubbed of cases, paths and hosts.
    """

    project: str
    group: str
    name: str
    kind: str
    folder: Path
    root: Path
    tags: tuple[str, ...]
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Keeps what a run tells. Metric names are the project's, with `/`, the same in every tracker.

    `remote`: what it is told leaves this machine.
    """

    remote: bool

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep the metrics of an epoch (0-based); the last epoch may be told again with further ones."""

    def close(self, end: RunEnd) -> None:
        """End the run; after it nothing is told any more. A run that goes on later is told of as the same."""


@runtime_checkable
class Gallery(Tracker, Protocol):
    """Keeps pictures, too, by themselves and in tables."""

    def picture(self, name: str, picture: Picture, caption: str, epoch: int) -> None:
        """Keep a picture of an epoch."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Keep a table."""


@runtime_checkable
class Archive(Tracker, Protocol):
    """Keeps files, too."""

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Keep files and folders under one name; `kind`: plan, fingerprint, model."""
