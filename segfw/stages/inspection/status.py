"""Verb `status`: every stage, and every configuration and fold of every name, as the files on disk tell it.

It writes nothing, holds no lock and never loads PyTorch; it can be asked while trainings run, from any computer that
sees the output folder, without the raw data.
"""

import io
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from segfw.core.errors import SegfwError
from segfw.core.settings.schema import ExperimentSettings
from segfw.stages.dataset.raw import workspace_of
from segfw.stages.dataset.record import load_record
from segfw.stages.inspection.run_signs import Place, compared_with_command, compared_with_data, read_signs, runs_on_disk
from segfw.stages.inspection.run_states import RunSigns, RunState, count_kinds, judge_run
from segfw.stages.inspection.stage_states import (
    StageState,
    dataset_state,
    fingerprint_state,
    plan_state,
    report_state,
    selection_state,
    store_states,
)
from segfw.stages.job import Job
from segfw.training.run import FoldName

log = logging.getLogger(__name__)

LEAST_WIDTH, WIDTH = 80, 160


@dataclass(frozen=True)
class Run:
    """One training: where it lies, what its files say, and how it stands."""

    place: Place
    signs: RunSigns
    state: RunState


def run(settings: ExperimentSettings) -> None:
    """Tell how everything stands under the output folder of the task."""
    workspace = workspace_of(settings)
    record = load_record(workspace)
    if record is None:
        log.info("status: nothing has been done yet in %s (there is no dataset.yaml that can be read)", workspace.root)
        return
    job = Job(settings, workspace, record)
    now = time.time()
    runs = own_runs(job, now)
    own = [each for each in runs if each.place.name == settings.name]
    log.info("status of %s, in %s", job.dataset.name, workspace.root)
    log.info("%s", _table(("stage", "state", ""), [(s.stage, s.state, s.text) for s in stages(job, own)]))
    for name in dict.fromkeys([settings.name, *(each.place.name for each in runs)]):
        rows = [(r.place.candidate, r.place.fold, r.state.kind, r.state.text) for r in runs if r.place.name == name]
        if rows:
            title = f"name={name}{' (of this command)' if name == settings.name else ''}"
            log.info("%s", _table(("configuration", "fold", "state", ""), rows, title))


def stages(job: Job, own: list[Run]) -> list[StageState]:
    """Judge every stage, in their order; `own`: the runs of the command's name."""
    asked = _asked(job)
    of_command = [each.state for each in own if (each.place.candidate, each.place.fold) in asked] if asked else []
    finished = [(each.place.candidate, _folder(job, each.place), each.signs) for each in own]
    kinds = {state.kind for state in of_command}
    trained = "running" if "running" in kinds else "done" if kinds == {"done"} else "waiting"
    text = count_kinds(of_command) if of_command else "what is to be trained is known when the plan is there"
    return [
        dataset_state(job),
        fingerprint_state(job),
        plan_state(job),
        *store_states(job),
        StageState("train", trained, text),
        selection_state(job, finished),
        report_state(job),
    ]


def own_runs(job: Job, now: float) -> list[Run]:
    """Return the runs of every name, and those that the command would begin, its own name first."""
    asked = _asked(job)
    found: dict[Place, RunSigns] = {}
    for place, folder in runs_on_disk(job.workspace):
        signs = read_signs(job.workspace, folder)
        fold = asked.get((place.candidate, place.fold)) if place.name == job.settings.name else None
        if fold is None:
            found[place] = compared_with_data(signs, folder, job.record.content)
        else:
            found[place] = compared_with_command(job, signs, place.configuration, fold)
    for candidate, number in asked:
        planner, network, configuration = candidate.split("/")
        found.setdefault(Place(job.settings.name, planner, network, configuration, number), RunSigns())
    order = sorted(found, key=lambda place: (place.name != job.settings.name, place))
    return [Run(place, found[place], judge_run(found[place], now)) for place in order]


def _asked(job: Job) -> dict[tuple[str, str], FoldName]:
    """Return what the command trains: (candidate, fold as its folder says) -> fold; nothing before there is a plan."""
    try:
        place = f"{job.planner}/{job.settings.network.name}"
        return {(f"{place}/{c}", str(fold)): fold for c in job.configurations for fold in job.folds}
    except SegfwError:
        return {}


def _folder(job: Job, place: Place) -> Path:
    return job.workspace.run(place.name, place.planner, place.network, place.configuration, place.fold)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], title: str | None = None) -> str:
    """Return a table as wide as the terminal; what has no room on a line goes on in the next."""
    width = min(max(shutil.get_terminal_size((WIDTH, 0)).columns, LEAST_WIDTH), WIDTH)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number < len(columns) - 1)
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).rstrip()
