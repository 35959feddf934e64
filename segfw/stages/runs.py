"""What determines a run, where it lies, and the rule that one name means one set of settings."""

from dataclasses import replace
from pathlib import Path

from segfw.core.conversion import from_plain, to_plain
from segfw.core.errors import UsageError
from segfw.stages.job import Job
from segfw.training.run import FULL, FoldName, FoldRun
from segfw.workspace import digest, load_yaml

CONFIG, DONE = "config.yaml", "done.yaml"
CONTINUES = (
    "trainer.max_epochs",
    "trainer.accelerator",
    "trainer.threads",
    "trainer.compile",
    "trainer.enable_progress_bar",
    "data",
    "inference",
)
"""Keys (and groups of keys) that may differ without making it another training."""
OWN = ("dataset", "plan", "configuration_name", "fold", "train_cases", "val_cases", "store", "network")
"""Keys that differ between the runs of one name: each configuration, network and fold has its own."""


def make_run(job: Job, configuration: str, fold: FoldName) -> FoldRun:
    """Collect everything that determines one fold's training."""
    settings = job.settings
    train_cases, val_cases = job.cases_of(fold)
    planned = job.plan.configuration(configuration)
    return FoldRun(
        plan=replace(job.plan, configurations={configuration: planned}),  # the others do not matter to a run
        configuration_name=configuration,
        fold=fold,
        train_cases=train_cases,
        val_cases=val_cases,
        store=str(job.workspace.store(job.store_name(job.plan, planned))),
        data=settings.data,
        network=settings.network,
        augmentation=settings.augmentation,
        loss=settings.loss,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        sampling=settings.sampling,
        trainer=settings.trainer,
        inference=settings.inference,
        seed=settings.seed,
        deterministic=settings.deterministic,
    )


def run_folder(job: Job, configuration: str, fold: FoldName) -> Path:
    """Where a fold's run lies."""
    settings = job.settings
    return job.workspace.run(settings.name, settings.planner.name, settings.network.name, configuration, fold)


def config_of(job: Job, run: FoldRun) -> dict[str, object]:
    """Return what config.yaml holds: the run, and a hash of the dataset's content."""
    return {"dataset": job.record.content, "run": to_plain(run)}


def load_run(folder: Path) -> FoldRun:
    """Read the run that a folder's config.yaml describes."""
    path = folder / CONFIG
    content = load_yaml(path)
    return from_plain(FoldRun, content.get("run") if isinstance(content, dict) else content, str(path))


def check_names(job: Job) -> None:
    """Refuse (`UsageError`) to mix, under one name, runs whose training-relevant keys differ; name the keys.

    Every run of the name must agree in what is not its own; runs of the same configuration must agree in that, too.
    """
    if job.settings.overwrite:
        return
    for configuration in job.configurations:
        here = run_folder(job, configuration, 0).parent
        for path in sorted(job.workspace.runs(job.settings.name).glob(f"*/*/*/fold_*/{CONFIG}")):
            same = path.parent.parent == here
            fold = _fold(path.parent.name) if same else job.folds[0]
            wanted = relevant(config_of(job, make_run(job, configuration, fold)))
            before = relevant(load_yaml(path))
            keys = sorted(key for key in {*before, *wanted} if same or key.split(".")[0] not in OWN)
            changed = [key for key in keys if before.get(key) != wanted.get(key)]
            if changed:
                rows = "\n".join(f"  {k}: {_short(before.get(k))} there, {_short(wanted.get(k))} now" for k in changed)
                raise UsageError(
                    f"name={job.settings.name} is taken by a run with other settings ({path.parent}):\n{rows}\n"
                    "keep both with name=ANOTHER, or replace its weights with overwrite=true"
                )


def relevant(config: dict[str, object]) -> dict[str, object]:
    """Return dotted key -> value of what makes a training the training it is; lists of cases as hashes."""
    flat: dict[str, object] = {}

    def walk(value: object, place: str) -> None:
        if any(place == key or place.startswith(f"{key}.") for key in CONTINUES):
            return
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, f"{place}.{key}" if place else str(key))
        elif place == "store":
            flat[place] = Path(str(value)).name
        else:
            flat[place] = digest(value) if place in ("train_cases", "val_cases") else value

    run = config.get("run")
    walk({"dataset": config.get("dataset"), **(run if isinstance(run, dict) else {})}, "")
    return flat


def _fold(folder_name: str) -> FoldName:
    number = folder_name.removeprefix("fold_")
    return int(number) if number.isdigit() else FULL


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
