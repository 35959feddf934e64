"""A tracker that remembers what it is told, and can be made to fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segfw.tracking.trackers import Cell, Picture, RunEnd


@dataclass
class Recorder:
    """Remembers each call as (what, ...); raises `error` in the calls named in `fails`."""

    remote: bool = False
    fails: tuple[str, ...] = ()
    error: BaseException = field(default_factory=lambda: OSError("the disk is full"))
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Remember an epoch."""
        self._remember("scalars", dict(values), epoch)

    def picture(self, name: str, picture: Picture, caption: str, epoch: int) -> None:
        """Remember a picture."""
        self._remember("picture", name, picture.shape, caption, epoch)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Remember a table."""
        self._remember("table", name, list(columns), [list(row) for row in rows])

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Remember files."""
        self._remember("files", name, kind, list(paths))

    def close(self, end: RunEnd) -> None:
        """Remember the end."""
        self._remember("close", end)

    def what(self) -> list[str]:
        """Return the names of the calls."""
        return [call[0] for call in self.told]

    def _remember(self, *call: Any) -> None:
        if call[0] in self.fails:
            raise self.error
        self.told.append(call)
