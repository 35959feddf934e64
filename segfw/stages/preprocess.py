"""Stage `preprocess`: one store per distinct spacing and normalisation, filled case by case.

A store that was interrupted goes on with the cases it lacks; one whose raw data changed is emptied first. Readers
accept it only with the manifest, which is written last.
"""

import json
import logging
from functools import partial
from pathlib import Path

from segfw.core.dataset import Case
from segfw.core.errors import ArtefactError
from segfw.core.files import discard, write_text
from segfw.core.locks import hold
from segfw.core.plan import Plan
from segfw.core.preprocessing import preprocess_case
from segfw.data.store import Store, commit_store, save_case, saved_cases
from segfw.io.formats.readers import read_image, read_label
from segfw.stages.costs import preprocessing_memory
from segfw.stages.executor import run_cases
from segfw.stages.job import Job
from segfw.stages.runs import check_names
from segfw.workspace import MadeFrom

log = logging.getLogger(__name__)

INPUTS = "made_from.json"
"""Written first: what an unfinished store is being made from."""


def run(job: Job) -> None:
    """Fill the store of every chosen configuration; refuse first what training under this name would refuse."""
    check_names(job)
    for name in job.configurations:
        _fill(job, name)


def require_store(job: Job, configuration: str) -> None:
    """Raise `ArtefactError` naming the stage to add when a configuration's store is missing, stale or incomplete."""
    path = job.workspace.store(job.store_name(job.plan, job.plan.configuration(configuration)))
    if _inputs(path) != job.store_inputs:
        raise ArtefactError(
            f"{path} is {'stale (the raw data changed since)' if path.exists() else 'missing'}; "
            "add the stage that makes it: stages=[preprocess,...] or stages=all"
        )
    Store.open(path)


def _fill(job: Job, name: str) -> None:
    configuration = job.plan.configuration(name)
    store = job.workspace.store(job.store_name(job.plan, configuration))
    cases = job.dataset.cases
    with hold(job.workspace.lock(f"preprocessed {store.name}"), f"the store {store.name}") as lock:
        _begin(store, job.store_inputs)
        saved = saved_cases(store)
        missing = {case.name: case for case in cases if case.name not in saved}
        if not missing and _is_whole(store):
            log.info("preprocess %s: nothing to do, %s is up to date", name, store)
            return
        if len(missing) < len(cases):
            log.info("preprocess %s: %d of %d cases are there already", name, len(cases) - len(missing), len(cases))
        work = partial(_preprocess, job.plan, name, job.dataset.remap, store)
        run_cases(work, missing, job.settings.executor.workers, f"preprocess {name}", preprocessing_memory(job, name))
        lock.check()
        commit_store(store, {"made_from": job.store_inputs, "spacing": list(configuration.spacing)})
        log.info("preprocess %s: wrote %s (%d cases)", name, store, len(cases))


def _is_whole(store: Path) -> bool:
    try:
        Store.open(store)
    except ArtefactError:
        return False
    return True


def _begin(store: Path, inputs: MadeFrom) -> None:
    """Make sure that what the store holds was made from `inputs`."""
    if store.exists() and _inputs(store) != inputs:
        log.info("preprocess: %s is emptied, the raw data changed since", store)
        discard(store)
    if not store.exists():
        write_text(store / INPUTS, json.dumps(inputs))


def _inputs(store: Path) -> MadeFrom | None:
    try:
        content = json.loads((store / INPUTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _preprocess(plan: Plan, configuration: str, remap: dict[int, int], store: Path, case: Case) -> None:
    """Preprocess one case and save it."""
    label = None if case.label is None else read_label(case.label, remap)
    save_case(
        store, case.name, preprocess_case(read_image(case.images), label, plan, plan.configuration(configuration))
    )
