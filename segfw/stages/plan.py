"""Stage `plan`: apply the planner's rules to the fingerprint, or take the plan that a person has written or edited."""

import logging
from pathlib import Path

from segfw.core.cases.modality import describe_scheme
from segfw.core.errors import UsageError
from segfw.core.plan import Plan
from segfw.core.planning.checks import check_plan
from segfw.core.planning.plan_yaml import plan_to_yaml
from segfw.core.planning.planning import make_plan
from segfw.core.planning.reasons import plan_reasons
from segfw.core.support.locks import hold
from segfw.stages.ending import StageEnd, nothing_to_do, wrote
from segfw.stages.job import Job
from segfw.stages.plan_table import show_plan
from segfw.workspace import State, save_artefact, standing

log = logging.getLogger(__name__)


def run(job: Job) -> StageEnd:
    """Make plans/<planner>.yaml unless it is fresh, edited or replaced by `planner.plan_file`; show its costs."""
    settings = job.settings.planner
    if settings.plan_file is None:
        end = _generate(job)
    else:
        offered = ", ".join(job.generated_plan.configurations)
        end = nothing_to_do(Path(settings.plan_file), why=f"is used as it is: {offered}")
    show_plan(job)
    for line in _normalization(job.plan, job.configurations):
        log.info("normalization: %s", line)
    return end


def _generate(job: Job) -> StageEnd:
    settings = job.settings.planner
    path = job.workspace.plan(settings.name)
    with hold(job.workspace.lock(f"plan {settings.name}"), f"the plan {settings.name}") as lock:
        inputs = job.plan_inputs
        found = standing(path, inputs)
        if found.state is State.FRESH:
            return nothing_to_do(path)
        if found.state is State.EDITED:
            offered = ", ".join(job.generated_plan.configurations)
            if found.why:
                log.warning(
                    "plan: %s, which the edited plan does not know%s; compare it with a generated one",
                    found.why,
                    _ignored(job, found.why),
                )
            return nothing_to_do(path, why=f"is used as edited by hand: {offered}; delete it to have it made again")
        if found.state is State.STALE:
            log.info("plan: made anew, %s", found.why)
        plan = generate(job)
        lock.check()
        save_artefact(path, plan_to_yaml(plan, plan_reasons(plan, job.dataset, job.fingerprint, settings)), inputs)
        return wrote(", ".join(plan.configurations), path)


def generate(job: Job) -> Plan:
    """Return the plan that the planner's rules give; `UsageError` where they give none that can be trained."""
    settings = job.settings.planner
    plan = make_plan(
        job.dataset,
        job.fingerprint,
        planner=settings.name,
        gpu_memory_gb=settings.gpu_memory_gb,
        target_spacing=settings.target_spacing,
        transpose=settings.transpose,
    )
    try:
        check_plan(plan)
    except UsageError as error:
        raise UsageError(
            f"the rules give no plan that can be trained: {error}. The images are too small for this target "
            f"spacing (planner.target_spacing={settings.target_spacing}); {job.workspace.plan(settings.name)} stays as "
            "it is"
        ) from error
    return plan


def _ignored(job: Job, changed: str) -> str:
    """Name the options of the planner, among what has changed, that the edited plan does not follow."""
    options = {f"planner.{key}": value for key, value in job.planner_options.items()}
    names = changed.removesuffix(" changed since").split(", ")
    given = [f"{name}={options[name]}" for name in names if name in options]
    return f" ({', '.join(given)} would generate another one)" if given else ""


def _normalization(plan: Plan, configurations: tuple[str, ...]) -> list[str]:
    """Say of each channel how its intensities are brought to one scale, once for configurations that do the same."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in configurations:
        c = plan.configuration(name)
        rows = zip(plan.channel_names, c.normalization_schemes, c.use_mask_for_norm, plan.intensities, strict=True)
        lines = [
            f"channel {number} ({channel}): {describe_scheme(scheme, use_mask, statistics)}"
            for number, (channel, scheme, use_mask, statistics) in enumerate(rows)
        ]
        alike.setdefault(tuple(lines), []).append(name)
    return [
        line if len(alike) == 1 else f"{', '.join(names)}: {line}" for lines, names in alike.items() for line in lines
    ]
