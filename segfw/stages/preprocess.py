"""Stage `preprocess`: one store per distinct spacing and normalisation, filled case by case.

A store that was interrupted goes on with the cases it lacks; one whose raw data changed is emptied first. Readers
accept it only with the manifest, which is written last.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.core.files import discard, write_text
from segfw.core.locks import Lock, hold
from segfw.data.case_files import commit_store, saved_cases
from segfw.data.store import Store
from segfw.stages.costs import preprocessing_memory
from segfw.stages.executor import run_cases
from segfw.stages.job import Job
from segfw.stages.preparation import Order, prepare_case
from segfw.stages.runs import check_names
from segfw.workspace import MadeFrom

log = logging.getLogger(__name__)

INPUTS = "made_from.json"
"""Written first: what an unfinished store is being made from."""


def run(job: Job) -> None:
    """Fill the store of every chosen configuration; refuse first what training under this name would refuse.

    Configurations that want the same have one store; a case that several stores lack is read once.
    """
    check_names(job)
    planned = {name: job.plan.configuration(name) for name in job.configurations}
    stores = {name: job.workspace.store(job.store_name(job.plan, planned[name])) for name in planned}
    makers = {store: name for name, store in sorted(stores.items(), reverse=True)}
    with ExitStack() as held:
        locks = {
            store: held.enter_context(hold(job.workspace.lock(f"preprocessed {store.name}"), f"the store {store.name}"))
            for store in makers
        }
        orders = _orders(job, {makers[store]: store for store in makers})
        if orders:
            memory = max(preprocessing_memory(job, name) for name in makers.values())
            work = partial(prepare_case, job.plan, job.dataset.remap)
            run_cases(work, orders, job.settings.executor.workers, "preprocess", memory)
        for store, name in makers.items():
            _commit(job, name, store, locks[store])


def require_store(job: Job, configuration: str) -> None:
    """Raise `ArtefactError` naming the stage to add when a configuration's store is missing, stale or incomplete."""
    path = job.workspace.store(job.store_name(job.plan, job.plan.configuration(configuration)))
    if _inputs(path) != job.store_inputs:
        raise ArtefactError(
            f"{path} is {'stale (the raw data changed since)' if path.exists() else 'missing'}; "
            "add the stage that makes it: stages=[preprocess,...] or stages=all"
        )
    Store.open(path)


def _orders(job: Job, stores: Mapping[str, Path]) -> dict[str, Order]:
    """Return what each case has yet to be saved in; cases that lack nothing are left out."""
    lacking: dict[str, dict[str, Path]] = {case.name: {} for case in job.dataset.cases}
    for name, store in stores.items():
        _begin(store, job.store_inputs)
        saved = saved_cases(store)
        there = 0
        for case, wanted in lacking.items():
            if case in saved:
                there += 1
            else:
                wanted[name] = store
        if 0 < there < len(lacking):
            log.info("preprocess %s: %d of %d cases are there already", name, there, len(lacking))
    return {case.name: (case, lacking[case.name]) for case in job.dataset.cases if lacking[case.name]}


def _commit(job: Job, name: str, store: Path, lock: Lock) -> None:
    """Declare a filled store complete, unless it was before."""
    if _is_whole(store):
        log.info("preprocess %s: nothing to do, %s is up to date", name, store)
        return
    lock.check()
    spacing = list(job.plan.configuration(name).spacing)
    commit_store(store, {"made_from": job.store_inputs, "spacing": spacing})
    log.info("preprocess %s: wrote %s (%d cases)", name, store, len(job.dataset.cases))


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
