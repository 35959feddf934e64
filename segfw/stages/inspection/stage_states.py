"""How the artefacts of each stage stand: done, running, missing or stale, and why. Reads only; never loads PyTorch."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segfw.core.errors import ArtefactError, SegfwError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.locks import owner_of
from segfw.core.support.words import counted, in_words
from segfw.data.case_files import MANIFEST, RECORD_ENDING, Manifest, complete_files, load_json
from segfw.data.store_check import glance
from segfw.stages.dataset.raw import changed_files
from segfw.stages.inspection.run_states import RunSigns, at, describe_owner
from segfw.stages.job import Job
from segfw.stages.store_needs import in_reasons, listed_cases, store_folder, wanted_cases
from segfw.stages.trainings.runs import selection_inputs
from segfw.training.run import DONE, FULL
from segfw.workspace import MadeFrom, State, Workspace, recorded_inputs, standing


@dataclass(frozen=True)
class StageState:
    """How a stage (or a part of it) stands, in a word and in a line that says why."""

    stage: str
    state: str
    text: str


def dataset_state(job: Job) -> StageState:
    """Say what the last command knew of the dataset, and which raw files look otherwise by now."""
    number, read = counted(len(job.dataset.cases), "case"), at(job.workspace.dataset.stat().st_mtime)
    changed = changed_files(job.record)
    if not changed:
        return StageState("dataset", "done", number)
    if len(changed) == len(job.record.files) and not any(Path(path).exists() for path in changed[:3]):
        return StageState("dataset", "out of reach", f"{number}, as of {read}; the raw files are not to be seen here")
    names = listed_cases([Path(path).name for path in changed]).replace("cases such as", "raw files such as")
    return StageState("dataset", "stale", f"{number}, as of {read}; changed since: {names}")


def fingerprint_state(job: Job) -> StageState:
    """Judge fingerprint.yaml."""
    return _artefact("fingerprint", job.workspace, job.workspace.fingerprint, "fingerprint", job.fingerprint_inputs)


def plan_state(job: Job) -> StageState:
    """Judge the plan of the chosen planner, or the file that takes its place."""
    planner = job.settings.planner
    if planner.plan_file is not None:
        there = Path(planner.plan_file).is_file()
        text = f"{planner.plan_file} {'is used as it is' if there else 'is no file'}"
        return StageState("plan", "done" if there else "missing", text)
    try:
        inputs = job.plan_inputs
    except ArtefactError:
        there = job.workspace.plan(planner.name).exists()
        text = f"{planner.name}: is judged when the fingerprint is up to date"
        return StageState("plan", "waiting", text if there else f"{planner.name}: not there yet")
    return _artefact("plan", job.workspace, job.workspace.plan(planner.name), f"plan {planner.name}", inputs)


def store_states(job: Job) -> list[StageState]:
    """Judge the store of each configuration; those on disk, by their names, where no plan says which are wanted."""
    try:
        names = job.configurations
        stores = {name: store_folder(job, name) for name in names}
    except SegfwError:
        return [stores_alone(job.workspace, "without a plan nobody knows what is wanted")]
    of_stores: dict[Path, list[str]] = {}
    for name, store in stores.items():
        of_stores.setdefault(store, []).append(name)
    return [_store(job, store, ", ".join(names)) for store, names in of_stores.items()]


def stores_alone(workspace: Workspace, why: str) -> StageState:
    """Count what the stores on disk hold, where nobody can know what they should; `why` that is."""
    folders = sorted(path for path in workspace.store("").glob("*") if path.is_dir())
    if not folders:
        return StageState("preprocess", "waiting", "no store yet")
    counts = [f"{path.name}: {counted(len(present_cases(path)), 'case')}" for path in folders]
    return StageState("preprocess", "waiting", f"{why}; {', '.join(counts)}")


def _store(job: Job, folder: Path, names: str) -> StageState:
    wanted, present = {case.name for case in job.dataset.cases}, present_cases(folder)
    there = f"{names}: {len(wanted & present.keys())} of {counted(len(wanted), 'case')}"
    owner = owner_of(job.workspace.lock(f"preprocessed {folder.name}"))
    if owner is not None and owner.alive:
        left = _left(wanted, present, owner.since)
        return StageState("preprocess", "running", f"{there}{left}; {describe_owner(owner, time.time())}")
    if not (folder / MANIFEST).is_file():
        return StageState("preprocess", "interrupted" if present else "waiting", there)
    try:
        expected = complete_files(folder, job.record.content, wanted)
        manifest = None if expected is not None else load_json(Manifest, folder / MANIFEST)
    except ArtefactError as error:
        return StageState("preprocess", "damaged", f"{names}: {error}")
    if manifest is None:
        there_are = set(os.listdir(folder))
        gone = [file for file in expected or () if file not in there_are]
        gone += [f"{name}{RECORD_ENDING}" for name in sorted(wanted - present.keys())]
        if gone:
            return StageState("preprocess", "damaged", f"{names}: {folder} lacks {', '.join(gone[:3])}")
        return StageState("preprocess", "done", there)
    lacking = glance(folder, wanted_cases(job))
    if lacking:
        return StageState("preprocess", "stale", f"{names}: {'; '.join(in_reasons(lacking))}")
    extra = sorted(manifest.cases.keys() - wanted)
    if extra:
        return StageState("preprocess", "stale", f"{names}: the dataset has no more: {listed_cases(extra)}")
    return StageState("preprocess", "done", there)


def present_cases(folder: Path) -> dict[str, float]:
    """Return case -> when its record was written, of the cases that are saved in a store, finished or not."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        records = [e for e in entries if e.name.endswith(RECORD_ENDING) and not e.name.startswith(".")]
        return {entry.name.removesuffix(RECORD_ENDING): entry.stat().st_mtime for entry in records}


def _left(wanted: set[str], present: dict[str, float], since: float | None) -> str:
    """Return how long the rest takes by the cases that this owner has done."""
    if since is None:
        return ""
    done = [time for name, time in present.items() if name in wanted and time > since]
    missing = len(wanted - present.keys())
    if not done or not missing:
        return ""
    return f", {in_words((max(done) - since) / len(done) * missing)} left"


def selection_state(
    settings: ExperimentSettings, workspace: Workspace, folds: Sequence[tuple[str, Path, RunSigns]]
) -> StageState:
    """Judge the selection by the finished `folds` (candidate, folder, signs) of the command's name."""
    name = settings.name
    if folds and all(folder.name == f"fold_{FULL}" for _, folder, _ in folds):
        return _model_alone(workspace, name, [folder for _, folder, _ in folds])
    scored = [
        (candidate, signs.done)
        for candidate, folder, signs in folds
        if signs.done is not None and not signs.damaged and folder.name != f"fold_{FULL}"
    ]
    path = workspace.selection(name)
    noted = recorded_inputs(path) if path.exists() else {}  # groups of cases are left to the stage itself
    inputs = {**noted, **selection_inputs(settings, scored)}
    return _artefact("select", workspace, path, f"selection {name}", inputs)


def _model_alone(workspace: Workspace, name: str, folders: Sequence[Path]) -> StageState:
    """Judge the model of folds that validate nothing, beside which there is no table, by what was finished after it."""
    owner = owner_of(workspace.lock(f"selection {name}"))
    if owner is not None and owner.alive:
        return StageState("select", "running", describe_owner(owner, time.time()))
    model = workspace.model(name) / "model.yaml"
    if not model.exists():
        return StageState("select", "waiting", "not there yet")
    made = model.stat().st_mtime
    newer = [workspace.relative(folder) for folder in folders if (folder / DONE).stat().st_mtime > made]
    where = f"{model.parent}, {at(made)}"
    if newer:
        return StageState("select", "stale", f"{where}; newer: {', '.join(newer)}")
    return StageState("select", "done", f"{where}; nothing was validated, so that nothing was compared")


def report_state(workspace: Workspace) -> StageState:
    """Judge the page by what was finished after it."""
    page = workspace.report
    owner = owner_of(workspace.lock("report"))
    if owner is not None and owner.alive:
        return StageState("report", "running", describe_owner(owner, time.time()))
    if not page.exists():
        return StageState("report", "waiting", "not there yet")
    made = page.stat().st_mtime
    sources = [*workspace.runs("").glob("*/*/*/*/fold_*/done.yaml"), *workspace.selection("").glob("*.yaml")]
    newer = [workspace.relative(path) for path in sorted(sources) if path.stat().st_mtime > made]
    if newer:
        return StageState("report", "stale", f"of {at(made)}; newer: {', '.join(newer[:3])}")
    return StageState("report", "done", f"{page}, {at(made)}")


def _artefact(stage: str, workspace: Workspace, path: Path, lock: str, inputs: MadeFrom) -> StageState:
    """Judge an artefact by its lock and its record."""
    owner = owner_of(workspace.lock(lock))
    if owner is not None and owner.alive:
        return StageState(stage, "running", describe_owner(owner, time.time()))
    try:
        found = standing(path, inputs)
    except ArtefactError as error:
        return StageState(stage, "damaged", str(error))
    if found.state is State.MISSING:
        return StageState(stage, "waiting", "not there yet")
    where = f"{path}, {at(path.stat().st_mtime)}"
    if found.state is State.FRESH:
        return StageState(stage, "done", where)
    return StageState(stage, found.state.value, f"{where}{f'; {found.why}' if found.why else ''}")
