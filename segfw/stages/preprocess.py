"""Stage `preprocess`: one store per distinct spacing and normalisation, filled case by case.

A case is made when a store lacks it: when it is not there, its raw files changed since, or its files are damaged.
Readers accept a store only with the manifest, which is written last.
"""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.core.support.files import remove_remains_below
from segfw.core.support.locks import Lock, hold
from segfw.core.support.words import counted
from segfw.data.case_files import DATASET, MANIFEST, commit_store, remove_other_cases, saved_cases
from segfw.data.store import Store
from segfw.data.store_check import ABSENT, find_lacking, note_saved
from segfw.stages.costs import preprocessing_memory
from segfw.stages.ending import StageEnd, nothing_to_do, wrote
from segfw.stages.executor import run_cases
from segfw.stages.job import Job
from segfw.stages.preparation import Order, prepare_case
from segfw.stages.store_needs import REMEDY, in_reasons, listed_cases, refuse_lacking, store_folder, wanted_cases
from segfw.stages.trainings.sameness import check_names

log = logging.getLogger(__name__)


def run(job: Job) -> StageEnd:
    """Fill the store of every chosen configuration; refuse first what training under this name would refuse.

    Configurations that want the same have one store; a case that several stores lack is read once.
    """
    check_names(job)
    planned = {name: job.plan.configuration(name) for name in job.configurations}
    stores = {name: store_folder(job, name) for name in planned}
    makers = {store: name for name, store in sorted(stores.items(), reverse=True)}
    with ExitStack() as held:
        locks = {
            store: held.enter_context(hold(job.workspace.lock(f"preprocessed {store.name}"), f"the store {store.name}"))
            for store in makers
        }
        orders = _orders(job, {makers[store]: store for store in makers})
        if orders:
            memory = max(preprocessing_memory(job, name) for name in makers.values())
            work = partial(prepare_case, job.plan, job.dataset.remap, locks=locks)
            run_cases(work, orders, job.settings.executor, "preprocess", memory)
        committed = [store for store, name in makers.items() if _commit(job, name, store, locks[store])]
        if not committed:
            return nothing_to_do(*makers)
        names = ", ".join(name for name in planned if stores[name] in committed)
        return wrote(f"{names}: {counted(len(job.dataset.cases), 'case')}, {len(orders)} made now", *committed)


def require_store(job: Job, configuration: str) -> None:
    """Raise `ArtefactError` naming the stage to add when a configuration's store is missing, stale or damaged."""
    path = store_folder(job, configuration)
    wanted = wanted_cases(job)
    lacking = find_lacking(path, wanted, job.workspace.checked_files(path.name)) if path.exists() else {}
    refuse_lacking(path, lacking, len(wanted))
    if set(Store.open(path).cases) != set(wanted):
        raise ArtefactError(f"{path} does not list the cases of the dataset; {REMEDY}")


def _orders(job: Job, stores: Mapping[str, Path]) -> dict[str, Order]:
    """Return what each case has yet to be saved in; cases that lack nothing are left out."""
    wanted = wanted_cases(job)
    targets: dict[str, dict[str, Path]] = {name: {} for name in wanted}
    for name, store in stores.items():
        store.mkdir(parents=True, exist_ok=True)
        remove_remains_below(store)
        if gone := remove_other_cases(store, wanted):
            log.info("preprocess %s: removed cases that the dataset has no more: %s", name, listed_cases(sorted(gone)))
        lacking = find_lacking(store, wanted, job.workspace.checked_files(store.name))
        for case in lacking:
            targets[case][name] = store
        if 0 < len(lacking) < len(wanted):
            log.info("preprocess %s: %d of %d cases are there already", name, len(wanted) - len(lacking), len(wanted))
        for line in in_reasons({case: reason for case, reason in lacking.items() if reason != ABSENT}):
            log.info("preprocess %s: made anew, %s", name, line)
    chosen = {case.name: case for case in job.dataset.cases if targets[case.name]}
    return {name: (case, targets[name], wanted[name].made_from) for name, case in chosen.items()}


def _commit(job: Job, name: str, store: Path, lock: Lock) -> bool:
    """Declare a filled store complete; return whether it was not so before."""
    expected = {case.name for case in job.dataset.cases}
    if _is_whole(store, expected):
        return False
    lock.check()
    remove_remains_below(store)  # of a process that was lost meanwhile
    note_saved(store, saved_cases(store), job.workspace.checked_files(store.name))
    commit_store(store, {"spacing": list(job.plan.configuration(name).spacing), DATASET: job.record.content})
    return True


def _is_whole(store: Path, expected: set[str]) -> bool:
    try:
        whole = set(Store.open(store).cases) == expected
    except ArtefactError:
        whole = False
    if not whole and (store / MANIFEST).is_file():
        log.info("preprocess: %s is damaged or lists other cases; it is written anew", store / MANIFEST)
    return whole
