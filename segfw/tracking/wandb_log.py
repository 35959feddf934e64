"""Weights & Biases: a run of W&B's for each of ours, the same one however often it goes on.

What it collects by itself stays off: host, user, program, code, git, installed packages, console output, errors of its
own, and the machine's state, of which our rows hold what counts. So nothing leaves but what it is told.
"""

import json
import logging
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from segfw.core.settings.tracking import LoggerSettings
from segfw.core.support.files import write_text
from segfw.tracking.trackers import Cell, Picture, RunEnd, TrackedRun
from segfw.tracking.wandb_service import Service

log = logging.getLogger(__name__)

STATE = "wandb.json"
"""In a run's folder: the id that W&B knows it by, and the step that it has reached."""
LONGEST_CALL = 30.0
"""Seconds after which a server that does not answer is done without."""
LONGEST_UPLOAD = 600.0
"""Seconds that the end of a run waits for what is still to be uploaded; what is left stays on disk."""
EXIT_STATUS = {RunEnd.FINISHED: 0, RunEnd.FAILED: 1, RunEnd.KILLED: 255}
"""What W&B is told of a run's end; 255 is what it tells itself of Ctrl-C."""
ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
AGENT = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_PROJECT", "WANDB_ENTITY")
"""What `wandb agent` tells the command that it starts; the last two a user may have set, too, who has no agent."""


@dataclass(frozen=True)
class State:
    """What is kept with a run to go on with it; steps rise over all its parts, as W&B wants them to.

    `project`, `entity`: where the run of an agent lies, in place of what the settings say.
    """

    id: str
    step: int = 0
    project: str | None = None
    entity: str | None = None

    def written(self) -> str:
        """Return the content of the file."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None})


class WandbRun:
    """A tracker that writes one run of W&B's. `run`: the library's, open."""

    remote = True

    def __init__(self, run: Any, state: State, file: Path, data: Path, service: Service) -> None:
        self.run, self.state, self._file, self._data, self._service = run, state, file, data, service

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep the metrics of an epoch; every chart is drawn over epochs."""
        self._log({"epoch": epoch, **values})

    def picture(self, name: str, picture: Picture, caption: str, epoch: int) -> None:
        """Keep a picture of an epoch."""
        import wandb

        self._log({"epoch": epoch, name: wandb.Image(picture, caption=caption)})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Keep a table, pictures in it as such."""
        import wandb

        shown = [[wandb.Image(str(cell)) if isinstance(cell, Path) else cell for cell in row] for row in rows]
        with _data_in(self._data):
            self._log({name: wandb.Table(columns=list(columns), data=shown)})

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Keep files and folders as an artifact, which is copied now and uploaded later."""
        import wandb

        artifact = wandb.Artifact(name, type=kind)
        with _data_in(self._data):
            for path in paths:
                for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                    if file.is_file():
                        artifact.add_file(str(file), name=file.relative_to(path.parent).as_posix())
            self.run.log_artifact(artifact)

    def close(self, end: RunEnd) -> None:
        """End the run; of an offline one, say how it is synced."""
        try:
            self.run.finish(exit_code=EXIT_STATUS[end])
        finally:
            self._service.end(self.run)
        if self.run.settings.mode == "offline":
            folder = shlex.quote(self.run.settings.sync_dir)
            log.info("wandb: the run is on this machine only; to upload it: wandb sync %s", folder)

    def _log(self, values: Mapping[str, Any]) -> None:
        self.run.log(dict(values), step=self.state.step, commit=True)
        self.state = replace(self.state, step=self.state.step + 1)
        write_text(self._file, self.state.written())


def open_wandb(told: TrackedRun, settings: LoggerSettings) -> WandbRun:
    """Begin or go on with the run of W&B's that `told` is, as `settings` wish; never asks for anything.

    Under `wandb agent` the agent's run is written to, by the first training that opens one.
    """
    service = Service()
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # whose reports hold names of hosts and paths
    agent = _take_agent_run()
    import wandb

    state = load_state(told.folder / STATE) or State("".join(secrets.choice(ID_LETTERS) for _ in range(8)))
    takes = told.kind == "train" and "WANDB_RUN_ID" in agent and not _is_taken(agent["WANDB_RUN_ID"], told)
    if takes:
        step = state.step if state.id == agent["WANDB_RUN_ID"] else 0
        state = State(agent["WANDB_RUN_ID"], step, agent.get("WANDB_PROJECT"), agent.get("WANDB_ENTITY"))
    mode = _choose_mode(wandb, settings.mode)
    options = _options(told, settings, state)
    config = dict(told.config)
    if takes:
        options["sweep_id"] = agent.get("WANDB_SWEEP_ID")
        config |= _swept_values(agent.get("WANDB_SWEEP_PARAM_PATH"))
    (told.root / "wandb").mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(config=config, settings=wandb.Settings(mode=mode, **options))
    except wandb.errors.Error as error:
        if mode != "online":
            raise
        log.warning("wandb: goes on offline, since it cannot be reached: %s", str(error).splitlines()[0])
        wandb.teardown()  # which otherwise holds the id in use
        run = wandb.init(config=config, settings=wandb.Settings(mode="offline", **options))
    service.begun()
    run.define_metric("*", step_metric="epoch")
    write_text(told.folder / STATE, state.written())
    if run.settings.mode == "online":
        log.info("wandb: %s", run.url)
    return WandbRun(run, state, told.folder / STATE, told.root / "wandb" / "data", service)


def load_state(path: Path) -> State | None:
    """Read what is kept with a run; None where there is nothing that can be read."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        places = (None if plain.get(key) is None else str(plain[key]) for key in ("project", "entity"))
        return State(str(plain["id"]), int(plain["step"]), *places)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _options(told: TrackedRun, settings: LoggerSettings, state: State) -> dict[str, Any]:
    """Return W&B's settings but for the mode. The parts of a run have folders of their own, also within a second."""
    return {
        "entity": state.entity or settings.entity,
        "project": state.project or told.project,
        "run_id": state.id,
        "run_name": told.name,
        "run_group": told.group,
        "run_job_type": told.kind,
        "run_tags": told.tags,
        "resume": "allow",
        "reinit": "create_new",
        "root_dir": str(told.root),
        "x_sync_dir_suffix": f"from-{state.step}" if state.step else "",
        "init_timeout": LONGEST_CALL,
        "finish_timeout": LONGEST_UPLOAD,
        "console": "off",
        "silent": True,
        "disable_code": True,
        "disable_git": True,
        "save_code": False,
        "host": "",
        "username": "",
        "email": "",
        "program": "segfw",
        "x_disable_meta": True,
        "x_disable_machine_info": True,
        "x_disable_stats": True,
        "x_save_requirements": False,
    }


def _choose_mode(wandb: Any, wished: str) -> Any:
    """Return online or offline, or what the environment variable WANDB_MODE says where nothing is wished.

    Offline where nobody is logged in, which is told without asking.
    """
    if wished == "offline":
        return "offline"
    general = wandb.setup().settings.mode
    if wished == "auto" and general != "online":
        return general
    try:
        if wandb.login(prompt=False, verify=False):
            return "online"
        reason = "nobody is logged in (wandb login)"
    except wandb.errors.Error as error:
        reason = str(error)
    say = log.warning if wished == "online" else log.info
    say("wandb: offline, since %s", reason)
    return "offline"


def _take_agent_run() -> dict[str, str]:
    """Take what `wandb agent` says out of the environment: its run is one, not every one that this command opens."""
    if "WANDB_RUN_ID" not in os.environ:
        return {}
    return {name: os.environ.pop(name) for name in AGENT if name in os.environ}


def _swept_values(file: str | None) -> dict[str, Any]:
    """Read what a sweep chose, as the agent wrote it down: W&B's charts of a sweep look for just these keys."""
    if file is None or not Path(file).is_file():
        return {}
    plain = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    entries = plain.items() if isinstance(plain, dict) else ()
    return {str(key): entry["value"] for key, entry in entries if isinstance(entry, dict) and "value" in entry}


def _is_taken(run_id: str, told: TrackedRun) -> bool:
    """Whether another fold's run is the agent's already."""
    others = (path for path in told.root.glob(f"runs/*/*/*/*/fold_*/{STATE}") if path.parent != told.folder)
    states = (load_state(path) for path in others)
    return any(state is not None and state.id == run_id for state in states)


@contextmanager
def _data_in(folder: Path) -> Iterator[None]:
    """Let W&B keep copies of what is to be uploaded in `folder` instead of the user's home."""
    name = "WANDB_DATA_DIR"
    before = os.environ.get(name)
    os.environ.setdefault(name, str(folder.absolute()))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
