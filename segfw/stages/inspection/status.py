"""Verb `status`: every stage, and every configuration and fold of every name, as the files on disk tell it.

It writes nothing, holds no lock and never loads PyTorch; it can be asked while trainings run, from any computer that
sees the output folder, without the raw data.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from segfw.core.errors import SegfwError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.locks import owner_of
from segfw.stages.dataset.raw import workspace_of
from segfw.stages.dataset.record import load_record
from segfw.stages.inspection.run_signs import (
    Place,
    compared_with_command,
    compared_with_data,
    compared_with_edit,
    edited_plans,
    read_signs,
    runs_on_disk,
)
from segfw.stages.inspection.run_states import (
    RunSigns,
    RunState,
    count_kinds,
    describe_owner,
    judge_run,
    worst_kind,
)
from segfw.stages.inspection.stage_states import (
    StageState,
    dataset_state,
    fingerprint_state,
    plan_state,
    report_state,
    selection_state,
    store_states,
    stores_alone,
)
from segfw.stages.job import Job
from segfw.stages.trainings.sameness import check_names
from segfw.tracking.text_table import as_text, plain_table, terminal_width
from segfw.training.run import FULL, FoldName
from segfw.workspace import Workspace

log = logging.getLogger(__name__)

LEAST_WIDTH, WIDTH = 80, 160
NOT_THERE = ("waiting", "not there yet")
NOUNS = {"select": "selection"}
SHOWN = 3
"""Runs at fault that are named."""


@dataclass(frozen=True)
class Run:
    """One training: where it lies, what its files say, and how it stands."""

    place: Place
    signs: RunSigns
    state: RunState


def run(settings: ExperimentSettings) -> None:
    """Tell how everything stands under the output folder of the task."""
    workspace = workspace_of(settings)
    record, now = load_record(workspace), time.time()
    if record is None and not workspace.dataset.exists() and not any(runs_on_disk(workspace)):
        log.info("status: nothing has been done yet in %s (there is no dataset.yaml)", workspace.root)
        return
    job = None if record is None else Job(settings, workspace, record)
    runs = runs_alone(workspace, now) if job is None else own_runs(job, now)
    judged = stages_alone(settings, workspace, runs) if job is None else stages(job, runs)
    log.info("status of %s, in %s", settings.task.name if job is None else job.dataset.name, workspace.root)
    log.info("%s", _table(("stage", "state", ""), [(s.stage, s.state, s.text) for s in judged]))
    for line in work_besides(settings, workspace, [each.place for each in runs], now):
        log.info("%s", line)
    for name in dict.fromkeys([settings.name, *(each.place.name for each in runs)]):
        rows = [(r.place.candidate, r.place.fold, r.state.kind, r.state.text) for r in runs if r.place.name == name]
        if rows:
            title = f"name={name}{' (of this command)' if name == settings.name else ''}"
            log.info("\n%s", _table(("configuration", "fold", "state", ""), rows, title))
        if job is not None and name == settings.name:
            _tell_refusal(job)


def _tell_refusal(job: Job) -> None:
    """Say why the command would stop before it trains, where runs of its name were given other settings."""
    if not _asked(job) or not {"preprocess", "train"} & set(job.settings.stages):
        return
    try:
        check_names(job)
    except SegfwError as error:
        log.info("\nThis command would stop before it trains, and leave every run as it is:\n%s", error)


def stages(job: Job, runs: Sequence[Run]) -> list[StageState]:
    """Judge every stage, in their order, by the runs of every name."""
    asked = _asked(job)
    own = [each for each in runs if each.place.name == job.settings.name]
    of_command = [each for each in own if (each.place.candidate, each.place.fold) in asked] if asked else own
    made = [dataset_state(job), fingerprint_state(job), plan_state(job)]
    validated = [each for each in own if each.place.fold != FULL]
    selection = resting_on(selection_state(job.settings, job.workspace, _finished(job.workspace, own)), made, validated)
    report = resting_on(report_state(job.workspace), [*made, selection], runs)
    return [*made, *store_states(job), _train_state(of_command), selection, report]


def stages_alone(settings: ExperimentSettings, workspace: Workspace, runs: Sequence[Run]) -> list[StageState]:
    """Judge the stages that can be judged without a dataset.yaml."""
    there = workspace.dataset.exists()
    remedy = f"{workspace.dataset} {'cannot be read' if there else 'is missing'}; any stage writes it anew"
    unknown = "cannot be judged without dataset.yaml"
    own = [each for each in runs if each.place.name == settings.name]
    plan = workspace.plan(settings.planner.name)
    return [
        StageState("dataset", "damaged" if there else "missing", remedy),
        StageState("fingerprint", *(("there", unknown) if workspace.fingerprint.exists() else NOT_THERE)),
        StageState("plan", *(("there", unknown) if plan.exists() else NOT_THERE)),
        stores_alone(workspace, unknown),
        _train_state(own),
        selection_state(settings, workspace, _finished(workspace, own)),
        report_state(workspace),
    ]


def resting_on(judged: StageState, made: Sequence[StageState], runs: Sequence[Run]) -> StageState:
    """Call a stage stale that is done, but made of runs, or with them of a dataset or plan, that are stale."""
    if judged.state != "done":
        return judged
    reasons = [
        f"the {NOUNS.get(each.stage, each.stage)} is {each.state}"
        for each in made
        if each.state in ("stale", "damaged")
    ]
    runs_at_fault = [each for each in runs if each.signs.done is not None and each.state.kind in ("stale", "damaged")]
    reasons += [f"{each.place.candidate} fold {each.place.fold} is {each.state.kind}" for each in runs_at_fault[:SHOWN]]
    if len(runs_at_fault) > SHOWN:
        reasons.append(f"so are {len(runs_at_fault) - SHOWN} more")
    return StageState(judged.stage, "stale", f"{judged.text}; {', '.join(reasons)}") if reasons else judged


def work_besides(settings: ExperimentSettings, workspace: Workspace, places: Sequence[Place], now: float) -> list[str]:
    """Return a line for each artefact that a living process writes and that no row of a table is about."""
    shown = {workspace.lock(what) for what in ("fingerprint", "report", f"selection {settings.name}")}
    shown |= {workspace.lock(f"plan {settings.planner.name}")}
    shown |= {workspace.lock(f"run {workspace.relative(_folder(workspace, place))}") for place in places}
    lines = []
    for path in sorted(workspace.lock("x").parent.glob("*.lock")):
        owner = owner_of(path)
        if path not in shown and not path.name.startswith("preprocessed ") and owner is not None and owner.alive:
            lines.append(f"running besides: {path.stem}; {describe_owner(owner, now)}")
    return lines


def runs_alone(workspace: Workspace, now: float) -> list[Run]:
    """Return the runs on disk, judged by their own files alone."""
    found = [(place, read_signs(workspace, folder)) for place, folder in runs_on_disk(workspace)]
    return [Run(place, signs, judge_run(signs, now)) for place, signs in found]


def _train_state(runs: Sequence[Run]) -> StageState:
    states = [each.state for each in runs]
    if not states:
        return StageState("train", "waiting", "what is to be trained is known when the plan is there")
    return StageState("train", worst_kind(states), count_kinds(states))


def _finished(workspace: Workspace, runs: Sequence[Run]) -> list[tuple[str, Path, RunSigns]]:
    return [(each.place.candidate, _folder(workspace, each.place), each.signs) for each in runs]


def own_runs(job: Job, now: float) -> list[Run]:
    """Return the runs of every name, and those that the command would begin, its own name first."""
    asked = _asked(job)
    found: dict[Place, RunSigns] = {}
    on_disk = list(runs_on_disk(job.workspace))
    edited = edited_plans(job, (place.planner for place, _ in on_disk))
    for place, folder in on_disk:
        signs = read_signs(job.workspace, folder)
        fold = asked.get((place.candidate, place.fold)) if place.name == job.settings.name else None
        if fold is None:
            signs = compared_with_data(signs, folder, job.record.content)
        else:
            signs = compared_with_command(job, signs, place.configuration, fold)
        found[place] = compared_with_edit(job, signs, folder, edited.get(place.planner))
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


def _folder(workspace: Workspace, place: Place) -> Path:
    return workspace.run(place.name, place.planner, place.network, place.configuration, place.fold)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], title: str | None = None) -> str:
    """Return a table as wide as the terminal; what has no room on a line goes on in the next."""
    table = plain_table(title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number < len(columns) - 1)
    for row in rows:
        table.add_row(*map(Text, row))
    return as_text(table, terminal_width(LEAST_WIDTH, WIDTH))
