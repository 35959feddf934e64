"""What every stage of one command shares: its settings, its folder, its dataset, and the rules of freshness.

`prepare` reads the dataset once; stages then ask the job for artefacts, which are loaded, checked and kept.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.cases.inner_split import inner_split
from segfw.core.cases.splits import Fold
from segfw.core.errors import ArtefactError, UsageError
from segfw.core.plan import Configuration, Fingerprint, Plan
from segfw.core.planning.checks import check_fits
from segfw.core.planning.network_fit import fit_to_network
from segfw.core.planning.overrides import RefitGivens, apply_overrides
from segfw.core.planning.plan_yaml import plan_from_yaml
from segfw.core.planning.planners import PLANNERS
from segfw.core.settings.schema import ExperimentSettings, PlannerSettings
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import looked_for
from segfw.stages.configurations import check_mirror_axes, choose_configurations, without_second_stages
from segfw.stages.dataset.folds import prepare_splits, read_own_splits
from segfw.stages.dataset.groups import groups_of
from segfw.stages.dataset.raw import find_dataset, scan, workspace_of
from segfw.stages.dataset.raw_folds import check_folds
from segfw.stages.dataset.record import DatasetRecord
from segfw.stages.dataset.verify import fresh_verification, label_presence, stop_at_missing_files
from segfw.training.run import DONE, FULL, FoldName
from segfw.workspace import MadeFrom, State, Workspace, digest, load_yaml, read_artefact, recorded_value, standing

log = logging.getLogger(__name__)

ALGORITHMS = {"fingerprint": "1", "plan": "2", "store": "1", "select": "3", "report": "1"}
"""Version of each stage's result; raised when the same inputs would give another result."""


@dataclass(frozen=True)
class Assumed:
    """What a dry run works with in the place of files that it does not write: the folds, and the generated plan."""

    splits: tuple[Fold, ...] | None = None
    plan: Plan | None = None


@dataclass(frozen=True)
class Job:
    """One command: settings, workspace and dataset, and the artefacts that stages load through it."""

    settings: ExperimentSettings
    workspace: Workspace
    record: DatasetRecord
    assumed: Assumed = Assumed()

    @property
    def dataset(self) -> Dataset:
        """The dataset that was read from the raw folder."""
        return self.record.dataset

    # --- what each artefact is made from -------------------------------------------------------------------------

    @property
    def fingerprint_inputs(self) -> MadeFrom:
        """What the fingerprint depends on."""
        return {"dataset": self.record.content, "algorithm": ALGORITHMS["fingerprint"]}

    @property
    def plan_inputs(self) -> MadeFrom:
        """What the generated plan depends on; `ArtefactError` where the fingerprint cannot be used."""
        description = replace(self.dataset, cases=(), licence="", reference="")
        return {
            "dataset": digest(description),
            "fingerprint": self.fingerprint_digest,
            **{f"planner.{key}": digest(value) for key, value in self.planner_options.items()},
            "algorithm": ALGORITHMS["plan"],
        }

    @property
    def planner_options(self) -> dict[str, Any]:
        """The keys of `planner` that a generated plan depends on, with their values."""
        return {key: value for key, value in to_plain(self.settings.planner).items() if key != "plan_file"}

    def store_name(self, plan: Plan, configuration: Configuration) -> str:
        """Name of the store that holds the cases preprocessed as `configuration` wants them."""
        clipping = [
            s for s, scheme in zip(plan.intensities, configuration.normalization_schemes, strict=True) if scheme == "ct"
        ]
        key = digest(
            [
                plan.transpose_forward,
                configuration.spacing,
                configuration.resampling,
                configuration.normalization_schemes,
                configuration.use_mask_for_norm,
                clipping,
                plan.labels,
            ]
        )
        kind = "2d" if configuration.is_2d else "3d"
        return f"{kind}_{'x'.join(f'{s:.3g}' for s in configuration.spacing)}_{key[:8]}"

    def case_inputs(self, case: Case) -> MadeFrom:
        """What a preprocessed case depends on besides what its store's name says."""
        dataset = self.dataset
        return {
            "raw files": self.record.content_of(case),
            "dataset description": digest([dataset.channel_names, dataset.labels, dataset.remap, dataset.file_ending]),
            "algorithm": ALGORITHMS["store"],
        }

    # --- artefacts, loaded and checked -----------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint on disk; `ArtefactError` names the stage to add when it is missing or stale."""
        self._require(self.workspace.fingerprint, self.fingerprint_inputs, "fingerprint")
        return from_plain(Fingerprint, load_yaml(self.workspace.fingerprint), "fingerprint.yaml")

    @cached_property
    def fingerprint_digest(self) -> str:
        """Hash of the fingerprint on disk, which of many cases takes a second to read."""
        path = self.workspace.fingerprint
        if path.exists():
            self._require(path, self.fingerprint_inputs, "fingerprint")
            if value := recorded_value(path):
                return value
        return digest(self.fingerprint)

    @cached_property
    def generated_plan(self) -> Plan:
        """The plan on disk, as generated, edited by hand, or given by `planner.plan_file`, without overrides."""
        if self.assumed.plan is not None:
            return self.assumed.plan
        chosen, given = self.settings.planner.name, self.settings.planner.plan_file
        if given is not None:
            path, place = Path(given), given
            if not path.is_file():
                found = "is a folder" if path.is_dir() else "does not exist"
                raise UsageError(f"planner.plan_file must be a YAML file, {looked_for(path)} {found}")
            planners = tuple(PLANNERS) if chosen == PlannerSettings().name else (chosen,)
        else:
            path = self.workspace.plan(chosen)
            self._require(path, self.plan_inputs, "plan", edited_is_fine=True)
            place, planners = self.workspace.relative(path), (chosen,)
        try:
            plan = plan_from_yaml(read_artefact(path), place)
        except ArtefactError as error:  # what a person gives as a value is theirs to mend
            if given is None:
                raise
            raise UsageError(f"planner.plan_file: {error}") from error
        except UsageError as error:
            hint = "" if given is not None else f"; correct {path}, or delete it to have it generated again"
            raise UsageError(f"{error}{hint}") from error
        check_fits(plan, self.dataset, planners, place)
        return plan

    @property
    def planner(self) -> str:
        """The planner under whose name the runs lie: the one that was chosen, or that of a given plan."""
        planner = self.settings.planner
        return planner.name if planner.plan_file is None else self.generated_plan.planner

    @cached_property
    def overridden_plan(self) -> Plan:
        """The generated plan with the command's `plan.*` laid over the chosen configurations."""
        return apply_overrides(self.generated_plan, self.settings.plan, self.configurations, self._refit_givens)

    @cached_property
    def plan(self) -> Plan:
        """The plan that is run: overrides applied, and patches and batches that suit the network's memory."""
        settings = self.settings
        fitted = fit_to_network(
            self.overridden_plan, settings.network, settings.plan, self.configurations, self._refit_givens
        )
        for message in fitted.messages:
            log.warning("%s", message)
        return fitted.plan

    @property
    def _refit_givens(self) -> RefitGivens:
        return RefitGivens(self.dataset.num_training, self.settings.planner.gpu_memory_gb)

    @cached_property
    def configurations(self) -> tuple[str, ...]:
        """The configurations to run, in the order in which they are trained (see `choose_configurations`)."""
        settings = self.settings
        chosen = choose_configurations(self.generated_plan, settings.configurations, self._lacking)
        if isinstance(settings.augmentation.mirror_axes, tuple):
            check_mirror_axes(self.generated_plan, chosen, settings.augmentation.mirror_axes)
        if settings.split.inner_share is None:
            return chosen
        return without_second_stages(self.generated_plan, chosen, settings.configurations)

    def _lacking(self, configuration: str, is_chosen: bool) -> list[int]:
        """Return the folds that no run has finished and this command does not train either; none unless it trains."""
        if "train" not in self.settings.stages:
            return []
        network, name = self.settings.network.name, self.settings.name
        runs = {f: self.workspace.run(name, self.planner, network, configuration, f) for f in range(len(self.splits))}
        here = self.folds if is_chosen else ()
        return [fold for fold, folder in runs.items() if fold not in here and not (folder / DONE).exists()]

    @cached_property
    def splits(self) -> tuple[Fold, ...]:
        """The folds of splits.json."""
        if self.assumed.splits is not None:
            return self.assumed.splits
        return read_own_splits(self.workspace.splits, [case.name for case in self.dataset.cases])

    @cached_property
    def folds(self) -> tuple[FoldName, ...]:
        """The folds to train: indices, or `full`."""
        chosen = self.settings.folds
        if chosen == "full":
            return (FULL,)
        if chosen == "cv":
            return tuple(range(len(self.splits)))
        return tuple(chosen)

    def cases_of(self, fold: FoldName) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return (training cases, validation cases) of a fold; `full` trains on all and validates none.

        With `split.inner_share` both are of the fold's training cases, and its validation cases are never read.
        """
        if isinstance(fold, str):
            return tuple(case.name for case in self.dataset.cases), ()
        if not 0 <= fold < len(self.splits):
            raise UsageError(f"folds: fold {fold} is not among 0 to {len(self.splits) - 1} ({self.workspace.splits})")
        divided = self._divided(fold)
        return divided.train, divided.val

    def _divided(self, number: int) -> Fold:
        """Return a fold's cases: as splits.json has them, or its training cases divided by `split.inner_share`."""
        fold, split = self.splits[number], self.settings.split
        if split.inner_share is None:
            return fold
        return inner_split(fold, split.inner_share, split.seed, number, groups_of(split, self.record))

    def _require(self, path: Path, made_from: MadeFrom, stage: str, edited_is_fine: bool = False) -> None:
        found = standing(path, made_from)
        if found.state is State.FRESH or (edited_is_fine and found.state is State.EDITED):
            return
        raise ArtefactError(
            f"{path} is {found.state.value} ({found.why}); "
            f"add the stage that makes it: stages=[{stage},...] or stages=all"
        )


def prepare(settings: ExperimentSettings, read_cases: Callable[[Job], None] | None = None) -> Job:
    """Read the dataset, write dataset.yaml and splits.json where they are missing, and return the job.

    `read_cases` is called where folds ask for the labels of cases that were not verified yet: a stage that reads and
    verifies every case anyway, so that none is read for the folds alone. Raises `UsageError` for a chosen fold that is
    not there: how many there are may only be known from the data.
    """
    workspace = workspace_of(settings)
    dataset = find_dataset(settings.task, Path(settings.data_root), settings.data_cache)
    check_folds(settings)
    stop_at_missing_files(dataset, settings)
    record = scan(dataset, workspace)
    job = Job(settings, workspace, record)

    def labels_of_cases() -> dict[str, frozenset[int]]:
        if read_cases is not None and fresh_verification(record, settings) is None:
            read_cases(job)
        return label_presence(record, settings)

    prepare_splits(settings, workspace, record, labels_of_cases)
    for fold in job.folds:
        job.cases_of(fold)
    return job
