"""Where the weights that a training begins with come from: a segfw model, a run's checkpoint, nnU-Net's, or tensors.

Nothing is unpickled but tensors and plain values. A training is another one if the file is another one: its hash stands
in the run's configuration, so that a changed file under the same path is noticed.
"""

from collections.abc import Callable
from pathlib import Path

import safetensors.torch

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.settings.training import PretrainedSettings
from segfw.core.support.files import looked_for
from segfw.inference.bundle import Bundle, Member, load_bundle, read_tensors
from segfw.inference.package_files import MANIFEST
from segfw.interop.nnunet_checkpoint import read_nnunet_weights
from segfw.stages.models.finding import refuse_address
from segfw.stages.trainings.runs import CONFIG, load_run
from segfw.training.checkpoints import network_weights
from segfw.training.pretrained import Pretrained
from segfw.training.run import CHECKPOINTS, LAST, FoldName


def check_pretrained(settings: PretrainedSettings) -> None:
    """Raise `UsageError` for a path that is missing or no kind of weights; without one there is nothing to check."""
    if settings.path is not None:
        refuse_address("pretrained.path", settings.path)
        _reader(Path(settings.path))


def read_pretrained(settings: PretrainedSettings, configuration: str, fold: FoldName) -> Pretrained:
    """Read the weights for the training of a fold. Raises `UsageError`, or `ArtefactError` for a damaged file."""
    path = Path(settings.path or "")
    read = _reader(path)
    return _read_model(path, settings, configuration, fold) if read is None else read(path)


def _reader(path: Path) -> Callable[[Path], Pretrained] | None:
    """Return what reads a file of weights, None for a segfw model; `UsageError` that says what may be given instead."""
    if not path.exists():
        raise UsageError(f"pretrained.path: there is no file or folder {looked_for(path)}")
    if not path.is_dir():
        if path.suffix not in READERS:
            raise UsageError(f"pretrained.path: {path.name} must end in one of {list(READERS)}, or be a model's folder")
        return READERS[path.suffix]
    if (path / MANIFEST).is_file():
        return None
    inside = [CHECKPOINTS + "/" + LAST, "checkpoint_final.pth", "fold_0/checkpoint_final.pth"]
    meant = next((path / name for name in inside if (path / name).is_file()), None)
    raise UsageError(
        f"pretrained.path: the folder {path} holds no {MANIFEST}, so it is no segfw model"
        + (f"; did you mean pretrained.path={meant}?" if meant else "")
    )


def _read_model(path: Path, settings: PretrainedSettings, configuration: str, fold: FoldName) -> Pretrained:
    bundle = load_bundle(path, every_member=True)
    member = _choose(bundle, settings, configuration, fold)
    title = f"{path} ({member.configuration} fold {member.fold})"
    return Pretrained(title, member.weights, bundle.plan.labels)


def _choose(bundle: Bundle, settings: PretrainedSettings, configuration: str, fold: FoldName) -> Member:
    """Choose the member asked for, else the one like the fold that is trained, else the first of its configuration."""
    there = list(dict.fromkeys(member.configuration for member in bundle.members))
    wanted = settings.configuration or (configuration if configuration in there else there[0])
    if wanted not in there or (settings.configuration is None and configuration not in there and len(there) > 1):
        raise UsageError(f"pretrained.configuration: the model has {there}, got {settings.configuration!r}; name one")
    folds = {member.fold: member for member in bundle.members if member.configuration == wanted}
    if settings.fold is not None and settings.fold not in folds:
        raise UsageError(f"pretrained.fold: {wanted} of the model has the folds {list(folds)}, got {settings.fold}")
    chosen = fold if settings.fold is None else settings.fold
    return folds.get(chosen) or next(iter(folds.values()))


def _read_checkpoint(path: Path) -> Pretrained:
    weights = network_weights(path)
    if not weights:
        raise ArtefactError(f"pretrained.path: {path} is no checkpoint of segfw: no tensor in it is the network's")
    run = path.parent.parent
    return Pretrained(str(path), weights, load_run(run).plan.labels if (run / CONFIG).is_file() else None)


def _read_tensors(path: Path) -> Pretrained:
    weights = read_tensors(lambda: safetensors.torch.load_file(path), f"pretrained.path: {path}")
    return Pretrained(str(path), weights)


def _read_nnunet(path: Path) -> Pretrained:
    return Pretrained(str(path), read_nnunet_weights(path))


READERS: dict[str, Callable[[Path], Pretrained] | None] = {
    ".zip": None,  # a segfw model
    ".ckpt": _read_checkpoint,
    ".pth": _read_nnunet,
    ".safetensors": _read_tensors,
}
