"""A trained model of nnU-Net v2, in its folder or in an export zip, as a packaged model of ours.

Several configurations of one plan may become one model, whose predictions are averaged, as nnU-Net's ensembles are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import ArtefactError, DataError
from segfw.core.plan import Plan
from segfw.core.settings.schema import InferenceSettings
from segfw.core.support.files import sha256
from segfw.core.version import __version__
from segfw.inference.bundle import Bundle, Member
from segfw.inference.model_manifest import Fold
from segfw.inference.provenance import Provenance, stated
from segfw.interop.model_files import ModelFiles
from segfw.interop.nnunet import READERS, STATISTICS_KEYS, dataset_from_json, parse_object, plans_from_json
from segfw.interop.nnunet_checkpoint import Checkpoint, read_checkpoint
from segfw.interop.nnunet_folder import (
    DATASET,
    FINGERPRINT,
    PLANS,
    Choice,
    FoundModel,
    choose_checkpoints,
    choose_models,
)
from segfw.interop.nnunet_postprocessing import read_postprocessing
from segfw.interop.nnunet_scores import count_cases, validation_scores
from segfw.nn.build import check_weights, network_shapes

TRAINED_BY = "nnU-Net v2"
STANDARD_TRAINER = "nnUNetTrainer"
_KNOWN_READERS = {"SimpleITKIO", *READERS.values()}


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A model and what the user should know of how it was read."""

    bundle: Bundle
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """What one trained model holds."""

    plan: Plan
    configuration: str
    folds: dict[Fold, Checkpoint]
    digests: dict[Fold, str]
    scores: dict[str, float]
    num_scored: int
    dataset: Dataset
    notes: tuple[str, ...]


def read_model(files: ModelFiles, choice: Choice) -> ImportedModel:
    """Read one or several trained models as one of ours.

    Raises `ArtefactError` or `DataError` for what is missing, damaged, foreign or without an equivalent here, and
    `UsageError` where `choice` does not tell what to take.
    """
    chosen = choose_models(files, choice.configurations)
    parts = [_read_part(files, found, choice) for found in chosen]
    plan = parts[0].plan
    for part in parts[1:]:
        if part.plan != plan:
            raise ArtefactError(
                f"{parts[0].configuration} and {part.configuration} were trained by different plans or for different "
                "datasets; import them one by one"
            )
    members = tuple(
        Member(part.configuration, fold, plan.configuration(part.configuration).architecture, checkpoint.weights)
        for part in parts
        for fold, checkpoint in part.folds.items()
    )
    steps, told = read_postprocessing(files, chosen, list(parts[0].folds), plan.labels)
    bundle = Bundle(plan, members, _mirror_axes(parts), InferenceSettings(), _provenance(parts, choice), steps)
    return ImportedModel(bundle, (*(note for part in parts for note in part.notes), *told))


def _read_part(files: ModelFiles, found: FoundModel, choice: Choice) -> _Part:
    names, notes = choose_checkpoints(files, found, choice)
    checkpoints, digests = {}, {}
    for fold, name in names.items():
        with files.local(name) as path:
            try:
                checkpoints[fold], digests[fold] = read_checkpoint(path), sha256(path)
            except ArtefactError as error:
                raise ArtefactError(str(error).replace(str(path), files.place(name))) from error
    configuration = _agreed(files, found, {fold: each.configuration for fold, each in checkpoints.items()})
    dataset = _dataset(files, found)
    plan, dropped = _plan(files, found, configuration, dataset)
    _refuse_cascade(plan, configuration, files.place(found.file(PLANS)))
    shapes = network_shapes(plan.configuration(configuration), len(plan.channel_names), plan.labels.num_heads)
    for fold, checkpoint in checkpoints.items():
        try:
            check_weights(checkpoint.weights, shapes)
        except ArtefactError as error:
            place = files.place(names[fold])
            raise ArtefactError(f"{place} (trained by {checkpoint.trainer}): {error}") from error
    return _Part(
        plan, configuration, checkpoints, digests, *_scores(files, found, list(checkpoints), plan, choice), dataset,
        (*notes, *dropped, *_cautions(checkpoints)),
    )  # fmt: skip


def _agreed(files: ModelFiles, found: FoundModel, configurations: Mapping[Fold, str]) -> str:
    different = set(configurations.values())
    if len(different) > 1:
        raise ArtefactError(f"{files.place(found.folder)} mixes checkpoints of {sorted(different)}, one is allowed")
    return different.pop()


def _dataset(files: ModelFiles, found: FoundModel) -> Dataset:
    place = files.place(found.file(DATASET))
    return dataset_from_json({"numTraining": 0} | parse_object(files.read(found.file(DATASET)), place), "", place)


def _plan(files: ModelFiles, found: FoundModel, configuration: str, dataset: Dataset) -> tuple[Plan, list[str]]:
    """Read the plan; configurations that have no equivalent here are left out, unless it is the one that is wanted."""
    place = files.place(found.file(PLANS))
    content = parse_object(files.read(found.file(PLANS)), place)
    reader = content.get("image_reader_writer", "SimpleITKIO")
    if reader not in _KNOWN_READERS:
        raise ArtefactError(
            f"{place}: image_reader_writer: only {sorted(_KNOWN_READERS)}, which keep a file's axes as they are, have "
            f"an equivalent, got {reader!r}"
        )
    if not any(key in content for key in STATISTICS_KEYS) and found.find(files, FINGERPRINT):
        fingerprint = parse_object(files.read(found.file(FINGERPRINT)), files.place(found.file(FINGERPRINT)))
        content |= {key: fingerprint[key] for key in STATISTICS_KEYS if key in fingerprint}
    try:
        return plans_from_json(content, dataset, place), []
    except ArtefactError as error:
        entries = content.get("configurations")
        if not isinstance(entries, dict) or configuration not in entries:
            raise
        kept = _needed(entries, configuration)
        if set(kept) == set(entries):
            raise
        plan = plans_from_json(content | {"configurations": kept}, dataset, place)
        return plan, [f"other configurations than {', '.join(kept)} are left out of the plan: {error}"]


def _needed(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the configuration called `name` with those that it builds on, cut off from the rest."""
    kept: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        entry = entries.get(current)
        if current in kept or not isinstance(entry, dict):
            continue
        kept[current] = entry
        waiting += [entry[key] for key in ("inherits_from", "previous_stage") if isinstance(entry.get(key), str)]
    return {
        each: {key: value for key, value in entry.items() if key != "next_stage" or value in kept}
        for each, entry in kept.items()
    }


def _refuse_cascade(plan: Plan, configuration: str, place: str) -> None:
    if configuration not in plan.configurations:
        raise ArtefactError(
            f"{place} has no configuration {configuration!r}, which the checkpoint was trained by; it has "
            f"{sorted(plan.configurations)}"
        )
    previous = plan.configuration(configuration).previous_stage
    if previous is not None:
        raise ArtefactError(
            f"{place}: {configuration} takes the segmentation by {previous} as a further input, and models of two "
            "stages are not imported; import another configuration of the dataset, such as 3d_fullres or 3d_lowres"
        )


def _cautions(checkpoints: Mapping[Fold, Checkpoint]) -> list[str]:
    """Say what could make the model predict otherwise than in nnU-Net."""
    notes = []
    trainers = sorted({each.trainer for each in checkpoints.values()})
    if trainers != [STANDARD_TRAINER]:
        notes.append(
            f"trained by {', '.join(trainers)}, whose weights fit the planned network; if it changes what has no "
            "weights, such as the activation, or how it predicts, compare a segmentation with nnU-Net's"
        )
    if len({each.mirror_axes for each in checkpoints.values()}) > 1:
        notes.append("the folds were mirrored along different axes; those of the first count, as in nnU-Net")
    return notes


def _scores(
    files: ModelFiles, found: FoundModel, folds: Sequence[Fold], plan: Plan, choice: Choice
) -> tuple[dict[str, float], int]:
    """Return nnU-Net's own validation of these weights, where every fold has one, and the number of its cases.

    That of all cases has none that counts: nnU-Net scores it on the cases that it was trained on.
    """
    if "full" in folds:
        return {}, 0
    names = [name for fold in folds for name in found.find(files, f"fold_{fold}/validation/summary.json")]
    if choice.checkpoint != "final" or len(names) < len(folds):
        return {}, 0
    try:
        summaries = [parse_object(files.read(name), files.place(name)) for name in names]
        return validation_scores(summaries, plan.labels), count_cases(summaries)
    except DataError:
        return {}, 0  # figures beside the model, which nothing depends on


def _mirror_axes(parts: Sequence[_Part]) -> tuple[int, ...]:
    """Return the axes that, cut to the axes of each configuration's window, are those of its own training."""
    axes = {part.configuration: next(iter(part.folds.values())).mirror_axes for part in parts}
    union = tuple(sorted({axis for each in axes.values() for axis in each}))
    for part in parts:
        ndim = len(part.plan.configuration(part.configuration).patch_size)
        if set(axes[part.configuration]) != {axis for axis in union if axis < ndim}:
            raise ArtefactError(
                f"one model cannot hold the axes {axes} along which the configurations were mirrored; import them one "
                "by one"
            )
    return union


def _provenance(parts: Sequence[_Part], choice: Choice) -> Provenance:
    """Say where the weights come from: hashes, names of nnU-Net's classes and figures; no paths."""
    members = [(f"{part.configuration} fold {fold}", part, fold) for part in parts for fold in part.folds]
    trainers = sorted({each.trainer for part in parts for each in part.folds.values()})
    dataset = replace(parts[0].dataset, name=parts[0].plan.dataset_name)
    return Provenance(
        created=datetime.now(UTC).date().isoformat(),
        scores=parts[0].scores if len(parts) == 1 else {},
        num_scored=parts[0].num_scored if len(parts) == 1 else 0,
        data=stated(dataset, "", dataset.num_training),
        trained_by=TRAINED_BY,
        settings={
            "imported_from": TRAINED_BY,
            "imported_with": f"segfw {__version__}",
            "trainer": ", ".join(trainers),
            "checkpoint": choice.checkpoint,
            "epochs": {name: part.folds[fold].epochs for name, part, fold in members},
        },
        made_from={name: part.digests[fold] for name, part, fold in members},
    )
