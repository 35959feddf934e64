"""MLflow: a run of an experiment, in a store of the dataset's outputs or on a server.

The store is SQLite with a folder of artifacts beside it, `<outputs>/<dataset>/mlflow/{mlflow.db,artifacts}`: MLflow
keeps its older store of plain files in maintenance and opens it only on request. It shows it with
`mlflow ui --backend-store-uri sqlite:///<outputs>/<dataset>/mlflow/mlflow.db`. MLflow's reports of its use to its
makers are switched off by the setting it documents, and a server that does not answer is given up after seconds rather
than minutes; who has set these variables otherwise is left alone. Only a client is used, never the fluent interface,
which would add user, host, path and commit by itself.
"""

import json
import logging
import math
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segfw.core.errors import JobError, UsageError
from segfw.core.support.files import write_text
from segfw.core.support.locks import hold
from segfw.tracking.tables import to_json, to_markdown, to_png_bytes, to_text
from segfw.tracking.trackers import Cell, Picture, RunEnd, TrackedRun

FOLDER, DATABASE, ARTIFACTS = "mlflow", "mlflow.db", "artifacts"
RUN_FILE = "mlflow.json"
"""In the run's folder: which run of which store this is."""
INSTALL = 'pip install "segfw[tracking]"  (or: pip install mlflow-skinny sqlalchemy alembic)'
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
LONGEST_VALUE = 500
"""Of a parameter; older servers take no more. The artifact `config.json` has them whole."""
MOST_AT_ONCE = 100
FORBIDDEN = re.compile(r"[^/\w.\- ]")
"""What a name may not hold; `_` takes its place."""


class MLflowTracker:
    """A run as MLflow shows it: metrics, parameters and tags, and as artifacts pictures, tables and files.

    A value that was told of an epoch stays: MLflow cannot take it back, so of an epoch that is done again after an
    interruption it shows the first attempt. Parameters cannot change either: a new value becomes a tag of the name.
    """

    def __init__(self, client: Any, run_id: str, remote: bool) -> None:
        self.remote, self.run_id = remote, run_id
        self._client = client
        names = client.get_run(run_id).data.metrics
        self._told = {(name, point.step) for name in names for point in client.get_metric_history(run_id, name)}

    def config(self, config: Mapping[str, Any]) -> None:
        """Keep the settings: each as a parameter, cut to what MLflow takes, and all of them as an artifact."""
        from mlflow.entities import Param, RunTag

        known = self._client.get_run(self.run_id).data.params
        wanted = {_name(key): _cut(value) for key, value in config.items()}
        self._batch("params", [Param(key, value) for key, value in wanted.items() if key not in known])
        self._batch("tags", [RunTag(key, value) for key, value in wanted.items() if known.get(key, value) != value])
        text = json.dumps(dict(config), indent=1, ensure_ascii=False, default=str)
        self._client.log_text(self.run_id, text, "config.json")

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep the metrics of an epoch; what is no number is left out, what was told already is not told twice."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        numbers = {_name(name): float(value) for name, value in values.items() if math.isfinite(value)}
        new = {name: value for name, value in numbers.items() if (name, epoch) not in self._told}
        self._batch("metrics", [Metric(name, value, now, epoch) for name, value in new.items()])
        self._told.update((name, epoch) for name in new)

    def picture(self, name: str, picture: Picture, caption: str, epoch: int) -> None:
        """Keep a picture of an epoch as `pictures/<name>/epoch_<number>.png`, the caption as its description."""
        self._put(to_png_bytes(picture, caption), f"pictures/{_name(name)}", f"epoch_{epoch:05d}.png")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Keep a table as `tables/<name>.md` and `.json`, and its pictures in a folder beside."""
        name = f"tables/{_name(name)}"
        shown = []
        for number, row in enumerate(rows):
            cells = list(row)
            for place, cell in enumerate(row):
                if isinstance(cell, Path):
                    file = f"{number:04d}_{place}.png"
                    self._put(cell.read_bytes(), name, file)
                    cells[place] = f"{name.rpartition('/')[2]}/{file}"
            shown.append(cells)
        self._client.log_text(self.run_id, to_markdown(columns, shown), f"{name}.md")
        self._client.log_text(self.run_id, to_json(columns, shown), f"{name}.json")

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Keep files and folders as artifacts in `<kind>/<name>/`."""
        place = f"{_name(kind)}/{_name(name)}"
        for path in paths:
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), f"{place}/{path.name}")
            else:
                self._client.log_artifact(self.run_id, str(path), place)

    def close(self, end: RunEnd) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, end.name)

    def _put(self, content: bytes, place: str, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, name)
            file.write_bytes(content)
            self._client.log_artifact(self.run_id, str(file), place)

    def _batch(self, kind: str, entries: Sequence[Any]) -> None:
        for first in range(0, len(entries), MOST_AT_ONCE):
            self._client.log_batch(self.run_id, **{kind: entries[first : first + MOST_AT_ONCE]})


def open_mlflow(run: TrackedRun, uri: str | None = None) -> MLflowTracker:
    """Begin or go on with the run of MLflow that `run` is, in the store at `uri`, by default the dataset's own.

    Raises `UsageError` where a package is missing, `JobError` where the dataset's store cannot be written, and MLflow's
    own exceptions where a server does not do its part.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        if uri is not None:
            client, artifacts = MlflowClient(tracking_uri=uri), None
        else:
            folder = run.root.absolute() / FOLDER
            with hold(folder / ".lock", "MLflow's store"):
                client, artifacts = MlflowClient(tracking_uri=_own_store(folder)), (folder / ARTIFACTS).as_uri()
    except ImportError as error:
        raise UsageError(f"MLflow is not installed ({error}): {INSTALL}") from error
    run_id = _run_id(client, run, "local" if uri is None else uri, artifacts)
    tracker = MLflowTracker(client, run_id, is_remote(uri))
    tracker.config(run.config)
    return tracker


def is_remote(uri: str | None) -> bool:
    """Whether what a store at `uri` is told leaves this machine: it does unless the store is a file."""
    return uri is not None and not uri.startswith(("sqlite:", "file:")) and (":" in uri or uri.startswith("databricks"))


def _own_store(folder: Path) -> str:
    """Return the URI of the SQLite store in `folder`; MLflow would try for minutes to open what cannot be opened."""
    path = folder / DATABASE
    if {"%", "?"} & set(str(path)):
        raise JobError(f"MLflow keeps no store in a folder with % or ? in its name: {folder}; choose another, or a uri")
    try:
        sqlite3.connect(path).close()
    except sqlite3.Error as error:
        raise JobError(f"MLflow's store {path} cannot be opened: {error}") from error
    return f"sqlite:///{path}"


def load_runs(path: Path) -> dict[str, str]:
    """Read which run of which store a folder's is; nothing where there is nothing that can be read."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = plain.items() if isinstance(plain, dict) else ()
    return {key: value for key, value in entries if isinstance(value, str)}


def _run_id(client: Any, run: TrackedRun, store: str, artifacts: str | None) -> str:
    """Return the run that the folder remembers of this store, going on again, or a new one."""
    from mlflow.exceptions import MlflowException

    path = run.folder / RUN_FILE
    known = load_runs(path)
    key = store if store == "local" else re.sub(r"//[^/@]*@", "//", store)  # no password on disk
    if key in known:
        try:
            if client.get_run(known[key]).info.lifecycle_stage == "active":
                client.update_run(known[key], status="RUNNING")
                return str(known[key])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    tags = {"group": run.group, "kind": run.kind, "tags": ", ".join(run.tags)}
    experiment = _experiment(client, _name(run.project), artifacts)
    created = client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
    write_text(path, json.dumps({**known, key: created}, indent=1))
    return str(created)


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    """Return the experiment of a name; two that make it at once make one."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


def _name(name: str) -> str:
    """Return a name as MLflow takes it, which for the project's own metrics is the same."""
    parts = (part.strip() for part in FORBIDDEN.sub("_", name).split("/"))
    return "/".join(part for part in parts if part.strip("."))[:250]


def _cut(value: object) -> str:
    text = to_text(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
