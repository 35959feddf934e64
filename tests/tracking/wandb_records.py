"""What an offline run of W&B's holds, read back from its file.

The file is a LevelDB log: blocks of 32 KiB, in them fragments with a header of 7 bytes (CRC-32, length, kind), of which
a record has one (kind 1) or several (2 first, 3 middle, 4 last). The file itself begins with 7 bytes, ":W&B" first.
"""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as protocol

BLOCK, HEADER = 32768, 7
WHOLE, LAST = 1, 4
SECONDS_TO_WRITE = 30


@dataclass(frozen=True)
class OfflineRun:
    """The content of one part of a run: what it is found by, its configuration, history and artifacts.

    `artifacts`: name -> its `type`, and its `files`, each with the place where it waits to be uploaded.

    `text`: every string of every record but the places of files on this machine, which are there for `wandb sync`.
    """

    id: str
    project: str
    group: str
    name: str
    kind: str
    sweep: str
    resumes: bool
    tags: tuple[str, ...]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: dict[str, dict[str, Any]]
    exit_code: int | None
    kinds: set[str]
    text: str


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a `.wandb` file."""
    data, at, part = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while at + HEADER <= len(data):  # what is still being written has no last fragment
        if BLOCK - at % BLOCK < HEADER:  # too little of the block is left for a header
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        part += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (WHOLE, LAST):
            yield protocol.Record.FromString(part)
            part = b""


def read_run(folder: Path) -> OfflineRun:
    """Read the run in an `offline-run-*` folder, which W&B's own process has written soon after the run's end."""
    (file,) = folder.glob("*.wandb")
    found = list(records(file))
    latest = time.monotonic() + SECONDS_TO_WRITE
    while not (found and found[-1].HasField("exit")) and time.monotonic() < latest:
        time.sleep(0.05)
        found = list(records(file))
    run = next(record.run for record in found if record.HasField("run"))
    exits = [record.exit.exit_code for record in found if record.HasField("exit")]
    artifacts: dict[str, dict[str, Any]] = {}
    for record in found:
        if record.HasField("artifact"):
            contents = record.artifact.manifest.contents
            staged = {entry.path: Path(entry.local_path) for entry in contents}
            artifacts[record.artifact.name] = {"type": record.artifact.type, "files": staged}
            for entry in contents:
                entry.local_path = ""
    summary: dict[str, Any] = {}
    for record in found:
        if record.HasField("summary"):
            summary |= _values(record.summary.update)
    return OfflineRun(
        id=run.run_id,
        project=run.project,
        group=run.run_group,
        name=run.display_name,
        kind=run.job_type,
        sweep=run.sweep_id,
        resumes=run.resume,
        tags=tuple(run.tags),
        config=_values(run.config.update),
        history=[_values(record.history.item) for record in found if record.HasField("history")],
        summary=summary,
        artifacts=artifacts,
        exit_code=exits[-1] if exits else None,
        kinds={str(record.WhichOneof("record_type")) for record in found},
        text="\n".join(map(str, found)),
    )


def offline_runs(outputs: Path, run_id: str) -> list[Path]:
    """Return the folders of the parts of a run, oldest first."""
    return sorted((outputs / "wandb").glob(f"offline-run-*-{run_id}*"))


def _values(items: Any) -> dict[str, Any]:
    """Return name -> value; of what is nested, a mapping."""
    values: dict[str, Any] = {}
    for item in items:
        *parents, name = item.nested_key or [item.key]
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = json.loads(item.value_json)
    return values
