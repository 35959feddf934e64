"""Where the trained models of nnU-Net v2 lie in a folder or a zip, and which of their checkpoints to take.

[<Dataset>/]<trainer>__<plans>__<configuration>/
    plans.json  dataset.json  dataset_fingerprint.json
    fold_0/ ... fold_all/
        checkpoint_final.pth  checkpoint_best.pth
        validation/summary.json
"""

from collections.abc import Iterable
from dataclasses import dataclass
from glob import escape

from segfw.core.errors import ArtefactError, UsageError
from segfw.inference.model_manifest import Fold
from segfw.interop.model_files import ModelFiles

PLANS, DATASET, FINGERPRINT = "plans.json", "dataset.json", "dataset_fingerprint.json"
CHECKPOINTS = "fold_*/checkpoint_*.pth"
_DEPTH = 3  # folders above a model's files: nnU-Net's results folder, the dataset's, the model's


@dataclass(frozen=True)
class FoundModel:
    """A trained model in a source.

    `folder`: where it lies there, "" for the source itself; `name`: of its folder, as a rule trainer, plans and
    configuration.
    """

    folder: str
    name: str

    @property
    def configuration(self) -> str:
        """What it is the model of, as its folder says."""
        return self.name.rpartition("__")[2]

    def file(self, name: str) -> str:
        """Return the name in the source of one of its files."""
        return f"{self.folder}/{name}" if self.folder else name

    def find(self, files: ModelFiles, pattern: str) -> list[str]:
        """Return the names in the source of its files that match `pattern`."""
        return files.find(f"{escape(self.folder)}/{pattern}" if self.folder else pattern)


@dataclass(frozen=True)
class Choice:
    """What to take of a source.

    `configurations`: names of configurations or of models' folders, None for the only one there is; `checkpoint`:
    final, best or latest; `folds`: None for every numbered one or, without any, the one of all cases.
    """

    configurations: tuple[str, ...] | None = None
    checkpoint: str = "final"
    folds: tuple[Fold, ...] | None = None


def find_models(files: ModelFiles) -> list[FoundModel]:
    """Return every trained model of a source: a folder that has plans.json and checkpoints in folders of folds."""
    found = []
    for depth in range(_DEPTH + 1):
        for name in files.find("*/" * depth + PLANS):
            folder = name.removesuffix(PLANS).removesuffix("/")
            model = FoundModel(folder, folder.rpartition("/")[2] or files.name)
            if model.find(files, CHECKPOINTS):
                found.append(model)
    return found


def choose_models(files: ModelFiles, wanted: tuple[str, ...] | None) -> list[FoundModel]:
    """Return the models of a source that are `wanted`; None stands for the only one."""
    found = find_models(files)
    if not found:
        raise ArtefactError(f"{files.place('')} holds no trained model of nnU-Net v2: {_instead(files)}")
    names = [model.name for model in found]
    if wanted is None:
        if len(found) > 1:
            raise UsageError(
                f"source holds several trained models, {names}; name one with configuration=NAME (of the configuration "
                "or of the folder), or several, whose predictions shall be averaged, with configuration=[NAME,NAME]"
            )
        return found
    chosen: list[FoundModel] = []
    for name in dict.fromkeys(wanted):
        fitting = [model for model in found if name in (model.name, model.configuration, model.folder)]
        if len(fitting) != 1:
            count, names = "several models" if fitting else "no model", [model.folder or model.name for model in found]
            raise UsageError(f"configuration: source holds {count} {name!r}; it has {names}")
        chosen += fitting
    return chosen


def _instead(files: ModelFiles) -> str:
    """Say what a source that holds no model looks like."""
    if files.find("model.yaml") or files.find("*/model.yaml"):
        return "it is a model of segfw, which predict takes as it is"
    if any(files.find("*/" * depth + "*.model.pkl") for depth in range(_DEPTH + 2)):
        return "it is of nnU-Net v1, whose networks are others"
    return f"there is no folder with {PLANS}, {DATASET} and {CHECKPOINTS}"


def choose_checkpoints(files: ModelFiles, found: FoundModel, choice: Choice) -> tuple[dict[Fold, str], list[str]]:
    """Return the checkpoints' names by fold, and in words what was left out."""
    file = f"checkpoint_{choice.checkpoint}.pth"
    place, every = files.place(found.folder), found.find(files, CHECKPOINTS)
    there = {fold: name for name in every if name.endswith(f"/{file}") and (fold := _fold(name)) is not None}
    if not there:
        raise ArtefactError(f"{place} has no fold_*/{file}; there are {_last(every)}: choose one with checkpoint=")
    if choice.folds is not None:
        missing = [fold for fold in choice.folds if fold not in there]
        if missing:
            raise ArtefactError(f"{place} has no {file} of the folds {missing}; it has those of {list(there)}")
        return {fold: there[fold] for fold in dict.fromkeys(choice.folds)}, []
    unknown = sorted({_folder(name) for name in every if _fold(name) is None})
    lacking = sorted({_folder(name) for name in every} - {_folder(name) for name in there.values()} - {*unknown})
    notes = [f"{', '.join(lacking)} has no {file} and is left out"] if lacking else []
    if unknown:
        notes.append(f"{', '.join(unknown)} is left out: folds are called fold_ and a number, or fold_all")
    numbered: list[Fold] = sorted(fold for fold in there if isinstance(fold, int))
    if numbered and "full" in there:
        notes.append("fold_all is left out, as in nnU-Net's own prediction; folds=full takes it instead")
    return {fold: there[fold] for fold in numbered or there}, notes


def _fold(name: str) -> Fold | None:
    """Return the fold that a checkpoint's name tells: nnU-Net's `all` is our `full`."""
    word = _folder(name).removeprefix("fold_")
    if word == "all":
        return "full"
    return int(word) if word.isdecimal() else None


def _folder(name: str) -> str:
    return name.split("/")[-2]


def _last(names: Iterable[str]) -> list[str]:
    return sorted({name.split("/")[-1] for name in names})
