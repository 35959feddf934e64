"""TensorBoard: the event files of a run, in the folder `tensorboard` of its own.

`tensorboard --logdir outputs/<dataset>/runs` shows every run under its place. Written with TensorBoard's own record
writer rather than by its event file writer, which puts the name of the host into that of the file, and keeps what it is
told for two minutes.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segfw.core.errors import UsageError
from segfw.tracking.tables import pairs_to_markdown, png_size, to_markdown, to_png_bytes
from segfw.tracking.trackers import Cell, Picture, RunEnd, TrackedRun

FOLDER = "tensorboard"
INSTALL = 'pip install "segfw[tracking]"  (or: pip install tensorboard)'
CONFIG = "config"

Told = dict[tuple[str, int], float]
"""(metric, epoch) -> value."""


class TensorBoardTracker:
    """A run as TensorBoard shows it: scalars, pictures as images, the configuration and tables as text.

    Nothing leaves this machine. An epoch that is done again after an interruption replaces what was told of it and of
    those after it. Files are not kept: they lie in the outputs already.
    """

    remote = False

    def __init__(self, run: TrackedRun) -> None:
        folder = run.folder / FOLDER
        config = pairs_to_markdown(run.config)
        self._told, known = _read(folder)
        self._file = _EventFile(folder)
        if config != known:
            self._file.text(CONFIG, config, self._epoch)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep the metrics of an epoch; what is no number is left out, what is known already is not told twice."""
        numbers = {name: float(np.float32(value)) for name, value in values.items() if np.isfinite(value)}
        if any(self._told.get((name, epoch), value) != value for name, value in numbers.items()):
            self._forget_from(epoch)
        new = {name: value for name, value in numbers.items() if (name, epoch) not in self._told}
        self._file.scalars(new, epoch)
        self._told.update({(name, epoch): value for name, value in new.items()})

    def picture(self, name: str, picture: Picture, caption: str, epoch: int) -> None:
        """Keep a picture of an epoch; the first caption describes all of the name."""
        self._file.image(name, to_png_bytes(picture), caption, epoch)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Keep a table as text, and its pictures as images under its name and the first cell of their row."""
        self._file.text(name, to_markdown(columns, rows), self._epoch)
        for row in rows:
            for column, cell in zip(columns, row, strict=True):
                if isinstance(cell, Path):
                    self._file.image(f"{name}/{row[0]}/{column}", cell.read_bytes(), "", self._epoch)

    def close(self, end: RunEnd) -> None:
        """End the event file, which says nothing of the run's end."""
        self._file.close()

    @property
    def _epoch(self) -> int:
        """The last one told of."""
        return max((epoch for _, epoch in self._told), default=0)

    def _forget_from(self, epoch: int) -> None:
        self._file.restart(epoch)
        self._told = {(name, at): value for (name, at), value in self._told.items() if at < epoch}


class _EventFile:
    """One more event file in a folder; what is told is on disk at once."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.iterdir()))  # they are read in the order of their names
        path = folder / f"events.out.tfevents.{int(time.time()):010d}.{number:04d}"
        self._records, self._event = RecordWriter(path.open("xb")), Event
        self._write(file_version="brain.Event:2")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add values of one step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        if values:
            entries = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._write(step=step, summary=Summary(value=entries))

    def image(self, name: str, png: bytes, description: str, step: int) -> None:
        """Add an image: width, height and content, as TensorBoard's image plugin keeps them."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.image.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        height, width = png_size(png)
        tensor = make_tensor_proto([str(width).encode(), str(height).encode(), png], dtype=np.object_)
        about = create_summary_metadata(display_name=None, description=description)
        self._write(step=step, summary=Summary(value=[Summary.Value(tag=name, tensor=tensor, metadata=about)]))

    def text(self, name: str, text: str, step: int) -> None:
        """Add a text, which is shown as Markdown."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(step=step, summary=text_pb(name, text))

    def restart(self, step: int) -> None:
        """Say that scalars of `step` and later ones count no more; a picture gives way to another of its step."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(step=step, session_log=SessionLog(status=SessionLog.START))

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def open_tensorboard(run: TrackedRun) -> TensorBoardTracker:
    """Begin or go on with what TensorBoard shows of `run`; `UsageError` where the package is missing."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError(f"TensorBoard is not installed ({error}): {INSTALL}") from error
    return TensorBoardTracker(run)


def _read(folder: Path) -> tuple[Told, str]:
    """Return the scalars that a folder of event files holds, and the last configuration; empty where there are none."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator

    if not folder.is_dir():
        return {}, ""
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0, TENSORS: 0}).Reload()
    tags = events.Tags()
    told = {(tag, event.step): event.value for tag in tags["scalars"] for event in events.Scalars(tag)}
    config = events.Tensors(CONFIG)[-1].tensor_proto.string_val[0].decode() if CONFIG in tags["tensors"] else ""
    return told, config
