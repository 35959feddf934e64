"""Stage `plan`: apply the planner's rules to the fingerprint, or take the plan that a person has written or edited."""

import logging

from segfw.core.cases.modality import describe_scheme
from segfw.core.errors import UsageError
from segfw.core.plan import Plan
from segfw.core.planning.checks import check_plan
from segfw.core.planning.overrides import describe_overrides
from segfw.core.planning.plan_yaml import plan_to_yaml
from segfw.core.planning.planning import make_plan
from segfw.core.planning.reasons import plan_reasons
from segfw.core.support.locks import hold
from segfw.stages.job import Job
from segfw.stages.plan_table import show_plan
from segfw.workspace import State, save_artefact, standing

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    """Make plans/<planner>.yaml unless it is fresh, edited or replaced by `planner.plan_file`; show its costs."""
    settings = job.settings.planner
    if settings.plan_file is None:
        _generate(job)
    else:
        log.info("plan: using %s as it is: %s", settings.plan_file, ", ".join(job.generated_plan.configurations))
    for line in describe_overrides(job.generated_plan, job.overridden_plan, job.settings.plan, job.configurations):
        log.info("%s", line)
    show_plan(job)
    for line in _normalization(job.plan, job.configurations):
        log.info("%s", line)


def _generate(job: Job) -> None:
    settings = job.settings.planner
    path = job.workspace.plan(settings.name)
    with hold(job.workspace.lock(f"plan {settings.name}"), f"the plan {settings.name}") as lock:
        inputs = job.plan_inputs
        found = standing(path, inputs)
        if found.state is State.FRESH:
            log.info("plan: nothing to do, %s is up to date", path)
            return
        if found.state is State.EDITED:
            offered = ", ".join(job.generated_plan.configurations)
            log.info("plan: using %s as edited by hand: %s; delete it to have it generated again", path, offered)
            if found.why:
                log.warning(
                    "plan: %s, which the edited plan does not know%s; compare it with a generated one",
                    found.why,
                    _ignored(job, found.why),
                )
            return
        if found.state is State.STALE:
            log.info("plan: made anew, %s", found.why)
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
                f"spacing (planner.target_spacing={settings.target_spacing}); {path} stays as it is"
            ) from error
        lock.check()
        save_artefact(path, plan_to_yaml(plan, plan_reasons(plan, job.dataset, job.fingerprint, settings)), inputs)
        log.info("plan: wrote %s", path)


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
