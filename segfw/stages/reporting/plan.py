"""What the report tells of the plan: the networks that it gives, what they cost, and why it is as it is."""

import logging
from collections.abc import Sequence

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.plan import Configuration, Plan
from segfw.core.planning.changed_reasons import with_changes
from segfw.core.planning.cost import parameter_count
from segfw.core.planning.network_fit import as_built
from segfw.core.planning.reasons import plan_reasons
from segfw.core.settings.schema import NetworkSettings
from segfw.core.support.conversion import changed_keys, to_plain
from segfw.stages.inspection.run_signs import compared_with_command
from segfw.stages.inspection.run_states import RunSigns
from segfw.stages.job import Job
from segfw.stages.networks import compared_networks
from segfw.stages.trainings.runs import FinishedFold, run_folder
from segfw.tracking.network_table import NetworkRow
from segfw.workspace import State, standing

log = logging.getLogger(__name__)


def reasons_of(job: Job) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what led to each block of the plan that is run, and sentences on where it differs from the generated one.

    Only of a plan as it was generated: of one that a person wrote or edited nobody knows the reasons.
    """
    planner, planned, generated = job.settings.planner, job.plan, job.generated_plan
    notes = [
        f"{name}: {', '.join(changed)} {'differ' if len(changed) > 1 else 'differs'} from what was planned "
        "(plan.*, or the network’s memory)."
        for name, configuration in planned.configurations.items()
        if (changed := changed_keys(to_plain(generated.configurations[name]), to_plain(configuration)))
    ]
    if planner.plan_file is not None:
        return {}, ("The plan was given by planner.plan_file, so its reasons are not known.", *notes)
    path = job.workspace.plan(planner.name)
    if standing(path, job.plan_inputs).state is not State.FRESH:
        return {}, ("The plan was edited by hand, so its reasons are not known.", *notes)
    reasons = plan_reasons(generated, job.dataset, job.fingerprint, planner)
    return with_changes(reasons, generated, planned, job.settings.plan), tuple(notes)


def other_settings(job: Job, folds: Sequence[FinishedFold]) -> tuple[str, ...]:
    """Say which folds were trained with other settings than the command has, whose plan the page shows."""
    found: dict[tuple[str, ...], list[str]] = {}
    for fold in folds:
        name, number = fold.run.configuration_name, fold.run.fold
        if fold.folder == run_folder(job, name, number):
            signs = compared_with_command(job, RunSigns(begun=True), name, number)
            found.setdefault(signs.settings, []).append(f"{fold.candidate} fold {number}")
    return tuple(
        f"The plan below is that of this command; these folds were trained with other settings: {', '.join(runs)} "
        f"({', '.join(keys)})."
        for keys, runs in found.items()
        if keys
    )


def optional_plan(job: Job) -> Plan | None:
    """Return the plan that is run, None before there is one that can be used."""
    try:
        return job.plan
    except ArtefactError as error:
        log.info("report: without the plan: %s", error)
        return None


def parameters_of(plan: Plan) -> dict[str, int]:
    """Return the learned values of each configuration's network."""
    heads = plan.labels.num_heads
    return {name: parameter_count(c, plan.num_inputs(c), heads) for name, c in plan.configurations.items()}


def networks_to_draw(job: Job, plan: Plan | None, folds: Sequence[FinishedFold]) -> dict[str, Configuration]:
    """Return the networks that were trained, by candidate; before any was, those of this command.

    Of a network of the user's own nobody knows what it looks like.
    """
    trained: dict[str, Configuration | None] = {}
    for fold in folds:
        trained[fold.candidate] = as_built(fold.run.configuration, fold.run.network)
    if not trained and plan is not None:
        trained = {name: as_built(plan.configuration(name), job.settings.network) for name in job.configurations}
    return {name: configuration for name, configuration in trained.items() if configuration is not None}


def explained_first(job: Job, plan: Plan | None, folds: Sequence[FinishedFold]) -> str | None:
    """Return the configuration that was trained first; before any was, the first of this command."""
    trained = next((fold.run.configuration_name for fold in folds), None)
    return trained if trained is not None or plan is None else next(iter(job.configurations), None)


def compared(job: Job) -> tuple[NetworkRow, ...]:
    """Return what every network would cost; without the user's own where that does not work any more."""
    try:
        return compared_networks(job.overridden_plan, job.settings.network)
    except UsageError as error:
        log.warning("report: without the network %s: %s", job.settings.network.name, error)
        return compared_networks(job.overridden_plan, NetworkSettings())
