"""Stage `plan`: apply the planner's rules to the fingerprint, or take the plan that a person has written or edited."""

import io
import logging

from rich.console import Console
from rich.table import Table

from segfw.core.cost import forward_flops, parameter_count
from segfw.core.locks import hold
from segfw.core.overrides import describe_overrides
from segfw.core.plan import Plan
from segfw.core.plan_reasons import plan_reasons
from segfw.core.plan_yaml import plan_to_yaml
from segfw.core.planners import estimated_gpu_memory_gb
from segfw.core.planning import make_plan
from segfw.stages.job import Job
from segfw.workspace import State, save_artefact, standing

log = logging.getLogger(__name__)

COLUMNS = "configuration", "spacing, mm", "patch", "batch", "features", "parameters", "TFLOP per step", "GPU memory"


def run(job: Job) -> None:
    """Make plans/<planner>.yaml unless it is fresh, edited by hand or replaced by `planner.plan_file`; show it."""
    settings = job.settings.planner
    if settings.plan_file is not None:
        log.info("plan: using %s as it is", settings.plan_file)
    else:
        _generate(job)
    for line in describe_overrides(job.generated_plan, job.plan, job.settings.plan, job.configurations):
        log.info("%s", line)
    _show(job.plan, job.configurations)


def _generate(job: Job) -> None:
    settings = job.settings.planner
    path = job.workspace.plan(settings.name)
    with hold(job.workspace.lock(f"plan {settings.name}"), f"the plan {settings.name}") as lock:
        inputs = job.plan_inputs(job.fingerprint)
        found = standing(path, inputs)
        if found.state is State.FRESH:
            log.info("plan: nothing to do, %s is up to date", path)
            return
        if found.state is State.EDITED:
            log.info("plan: using %s as it was edited by hand; delete it to have it generated again", path)
            if found.why:
                log.warning("plan: %s, which the edited plan does not know; compare it with a generated one", found.why)
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
        lock.check()
        save_artefact(path, plan_to_yaml(plan, plan_reasons(plan, job.dataset, job.fingerprint, settings)), inputs)
        log.info("plan: wrote %s", path)


def _show(plan: Plan, configurations: tuple[str, ...]) -> None:
    """Log a table of the configurations that will run, overrides included."""
    table = Table(title=f"plan {plan.planner} of {plan.dataset_name}")
    for column in (
        "configuration",
        "spacing, mm",
        "patch",
        "batch",
        "features",
        "parameters",
        "TFLOP per step",
        "GPU memory",
    ):
        table.add_column(column)
    channels, heads = len(plan.channel_names), plan.labels.num_heads
    for name in configurations:
        c = plan.configuration(name)
        table.add_row(
            name,
            " ".join(f"{s:.3g}" for s in c.spacing),
            "x".join(map(str, c.patch_size)),
            str(c.batch_size),
            " ".join(map(str, c.features_per_stage)),
            f"{parameter_count(c, channels, heads) / 1e6:.2f} M",
            f"{3 * forward_flops(c, channels, heads) / 1e12:.3g}",
            f"{estimated_gpu_memory_gb(plan, name):.2g} GB",
        )
    text = io.StringIO()
    Console(file=text, width=120).print(table)
    log.info("%s", text.getvalue().rstrip())
