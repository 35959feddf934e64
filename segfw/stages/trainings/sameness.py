"""What makes a training the training it is, and the rule that one name means one set of such settings."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from segfw.core.errors import UsageError
from segfw.core.plan import Plan
from segfw.core.planning.network_fit import fit_to_network
from segfw.core.planning.overrides import RefitGivens, apply_overrides, given_values
from segfw.core.settings.schema import NetworkSettings, PlannerSettings, PlanOverrides
from segfw.core.settings.training import MACHINE_KEYS
from segfw.core.support.conversion import changed_keys, from_plain, to_plain
from segfw.stages.job import Job
from segfw.stages.trainings.runs import CONFIG, config_of, load_config, make_run, run_folder
from segfw.training.run import FULL, FoldName, FoldRun
from segfw.workspace import State, digest, standing

PLAN_KEYS = frozenset(field.name for field in dataclasses.fields(PlanOverrides))
TRAINING = "training"
"""What config.yaml's record calls the hash of all that makes a training the training it is."""
CONTINUES = (
    *MACHINE_KEYS,
    "trainer.max_epochs",
    "trainer.max_time",
    "trainer.detect_anomaly",
    "trainer.profiler",
    "augmentation.device",
    "mirror_axes",  # what the rule found; `augmentation.mirror_axes`, which asks for it, counts
    "data",
    "inference",
    "keep_logits",
    "pretrained.path",  # its hash counts, wherever it lies
    "next_stage",
    "previous",  # compared on its own, when the previous stage is there
)
"""Keys (and groups of keys) that may differ without making it another training."""
CASES = ("train_cases", "val_cases")
OWN = ("dataset", "plan", "configuration_name", "fold", *CASES, "store", "network")
"""Keys that differ between the runs of one name: each configuration, network and fold has its own."""


def check_names(job: Job) -> None:
    """Refuse (`UsageError`) to mix, under one name, runs whose training-relevant keys differ; name the keys.

    Every run of the name must agree in what is not its own; runs of the same configuration must agree in that, too.
    With `overwrite=true` the runs that this command replaces are left out.
    """
    replaced = (
        {run_folder(job, c, f) for c in job.configurations for f in job.folds} if job.settings.overwrite else set()
    )
    for configuration in job.configurations:
        here = run_folder(job, configuration, 0).parent
        for path in sorted(job.workspace.runs(job.settings.name).glob(f"*/*/*/fold_*/{CONFIG}")):
            if path.parent in replaced:
                continue
            same = path.parent.parent == here
            fold = _fold(path.parent.name) if same else job.folds[0]
            wanted = relevant(config_of(job, make_run(job, configuration, fold)))
            before = relevant_there(path.parent)
            changed = [key for key in changed_keys(before, wanted) if same or key.split(".")[0] not in OWN]
            if changed:
                edited = _edited_plan(job, path.parent, before, wanted)
                rows = "\n".join(f"  {_difference(key, before, wanted, edited.get(key, ''))}" for key in changed)
                raise UsageError(
                    f"name={job.settings.name} is taken by a run with other settings ({path.parent}):\n{rows}\n"
                    f"{_advice(changed, edited)}"
                )


def _edited_plan(job: Job, folder: Path, before: Mapping[str, object], wanted: Mapping[str, object]) -> dict[str, str]:
    """Return planned value -> where it comes from, of those that neither command gave but the edited plan changed."""
    path = job.workspace.plan(job.settings.planner.name)
    if job.settings.planner.plan_file is not None or not path.exists():
        return {}
    if standing(path, job.plan_inputs).state is not State.EDITED:
        return {}
    command = load_config(folder).get("command")
    overrides = command.get("plan") if isinstance(command, dict) else None
    given = {*(overrides if isinstance(overrides, dict) else {}), *given_values(job.settings.plan)}
    in_file = relevant({"run": {"plan": to_plain(job.generated_plan)}})
    return {
        key: f", from {path}, which was edited by hand"
        for key, value in wanted.items()
        if key.startswith("plan.")
        and value == in_file.get(key) != before.get(key)
        and not (key.startswith("plan.configurations.") and key.split(".")[3] in given)
    }


def changed_by_edit(job: Job, plan: Plan, config: object, place: str) -> list[str]:
    """Return which planned values of a run its own command would find otherwise in `plan`, which a person has edited.

    `config`: what its config.yaml, `place`, says but for the cases. A run of a plan file of its own has none, nor one
    that does not tell its command.
    """
    command, run = (config.get(key) if isinstance(config, dict) else None for key in ("command", "run"))
    if not isinstance(command, dict) or not isinstance(run, dict):
        return []
    planner = from_plain(PlannerSettings, command.get("planner") or {}, place)
    if planner.plan_file is not None:
        return []
    overrides = from_plain(PlanOverrides, command.get("plan") or {}, place)
    network = from_plain(NetworkSettings, run.get("network") or {}, place)
    before, names = from_plain(Plan, run.get("plan"), place), (str(run.get("configuration_name")),)
    givens = RefitGivens(job.dataset.num_training, planner.gpu_memory_gb)
    overridden = apply_overrides(plan, overrides, names, givens)
    fitted = fit_to_network(overridden, network, overrides, names, givens).plan
    now = replace(fitted, configurations={name: fitted.configuration(name) for name in names})
    there, wanted = (relevant({"run": {"plan": to_plain(each)}}) for each in (before, now))
    return changed_keys(there, wanted)


def _advice(changed: Collection[str], edited: Collection[str]) -> str:
    """Say what to do about keys that have changed, some of them in an edited plan, which is that of every name."""
    steps = ["give the settings of that run"] if set(changed) - set(edited) else []
    copy = ""
    if set(changed) & set(edited):
        steps.append("undo the edit of the plan")
        copy = "; to edit the plan for one training alone, copy it and give planner.plan_file=COPY"
    return (
        f"{' and '.join(steps)} to go on with it, keep both with name=ANOTHER, or replace every run of this name with "
        f"overwrite=true{copy}"
    )


def relevant_there(folder: Path) -> dict[str, object]:
    """Return `relevant` of the run in a folder; what an older segfw did not know of has its default."""
    config = load_config(folder)
    run = from_plain(FoldRun, config.get("run"), str(folder / CONFIG))
    return relevant({**config, "run": to_plain(run)})


def relevant(config: dict[str, object]) -> dict[str, object]:
    """Return dotted key -> value of what makes a training the training it is; lists of cases as hashes."""
    flat: dict[str, object] = {}

    def walk(value: object, place: str) -> None:
        if any(place == key or place.startswith(f"{key}.") for key in CONTINUES):
            return
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{place}.{key}" if place else str(key))
        elif place == "store":
            flat[place] = Path(str(value)).name
        else:
            flat[place] = digest(value) if place in CASES else value

    run = config.get("run")
    shared = {"dataset": config.get("dataset"), "callbacks": config.get("callbacks") or {}}
    walk({**shared, **(run if isinstance(run, dict) else {})}, "")
    return flat


def training_hash(config: dict[str, object]) -> str:
    """Return a hash that two configurations share exactly if one training may go on as the other."""
    return digest(relevant(config))


def as_given(key: str) -> str:
    """Return a key of a run as a command line has it: plan.configurations.2d.batch_size is 'plan.batch_size (2d)'."""
    parts = key.split(".")
    if parts[:2] == ["plan", "configurations"] and parts[3:4] and parts[3] in PLAN_KEYS:
        return f"plan.{'.'.join(parts[3:])} ({parts[2]})"
    return key


def _fold(folder_name: str) -> FoldName:
    number = folder_name.removeprefix("fold_")
    return int(number) if number.isdigit() else FULL


def _difference(key: str, before: Mapping[str, object], wanted: Mapping[str, object], source: str) -> str:
    if key == "dataset":
        return f"{key}: raw files, or what the task says of them, have changed since (`status` names them)"
    if key in CASES:
        return f"{key}: other cases there than now (splits.json, split.*)"
    return f"{as_given(key)}: {_short(before.get(key))} there, {_short(wanted.get(key))} now{source}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
