"""The packaged model: weights as safetensors, everything else in `model.yaml`, nothing that would have to be unpickled.

    model.yaml                              format version, plan, members with SHA-256, mirroring, settings,
                                            postprocessing, provenance
    3d_fullres_fold_0-1a2b3c4d.safetensors  one file per member; its name carries its hash, so that a new model never
                                            overwrites a file that the old `model.yaml` still names
    README.md                               the model card: the same in words, for people

Members are written first and `model.yaml` last, at once: a folder that has it is complete. A `.zip` of the folder is as
good. No case names, paths or hosts are in it.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.plan import Plan
from segfw.core.scoring.postprocessing import Step, check_steps
from segfw.core.settings.schema import InferenceSettings, NetworkSettings
from segfw.core.support.conversion import to_plain
from segfw.core.support.files import atomic_path, sha256, write_text
from segfw.core.support.strict_yaml import dump_yaml
from segfw.inference.model_card import model_card
from segfw.inference.model_manifest import (
    FORMAT_VERSION,
    SUFFIX,
    Fold,
    MemberEntry,
    ModelManifest,
    check_member_file,
    read_manifest,
)
from segfw.inference.package_files import MANIFEST, Read, open_package, write_zip
from segfw.inference.provenance import Provenance
from segfw.nn.torch_file import check_tensors

CARD = "README.md"


@dataclass(frozen=True, eq=False)
class Member:
    """The trained weights of one fold of one configuration. `network`: name of the architecture that they fit.

    `target`: import path of a network that is none of this package's; `arguments`: further ones of the network;
    `sha256`: of the file that they were read from, empty where they were not.
    """

    configuration: str
    fold: Fold
    network: str
    weights: Mapping[str, Tensor]
    target: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def settings(self) -> NetworkSettings:
        """What builds the network."""
        return NetworkSettings(self.network, self.target, dict(self.arguments))


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model: its plan, as it was trained with, and its members.

    `mirror_axes`: axes of the window along which training mirrored, empty for none; a 2D member has the first two at
    most. `postprocessing`: what is done to a segmentation on the image's grid, in order. `deciding`: the configurations
    that are averaged, none for the last stages; a first stage may be among them. Raises `UsageError` without members,
    for two of the same fold, for a configuration or label values that the plan lacks, and for one of
    `inference.folds` that it has no member of.
    """

    plan: Plan
    members: tuple[Member, ...]
    mirror_axes: tuple[int, ...]
    inference: InferenceSettings
    provenance: Provenance
    postprocessing: tuple[Step, ...] = ()
    deciding: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("a model needs at least one member, got none")
        keys = [(member.configuration, member.fold) for member in self.members]
        if len(set(keys)) < len(keys):
            raise UsageError(f"a model holds each fold of a configuration once, got {keys}")
        axes = set(self.mirror_axes)
        if len(axes) < len(self.mirror_axes) or not axes <= {0, 1, 2}:
            raise UsageError(f"mirror_axes must be among 0, 1 and 2, each once, got {self.mirror_axes}")
        check_steps(self.postprocessing, self.plan.labels)
        there = dict.fromkeys(member.configuration for member in self.members)
        if unknown := [name for name in self.deciding if name not in there]:
            raise UsageError(f"deciding must name configurations of the model's members {list(there)}, got {unknown}")
        for name in there:
            previous = self.plan.configuration(name).previous_stage
            if previous is not None and previous not in there:
                raise UsageError(
                    f"configuration {name!r} takes the segmentation of {previous!r} as input, of which the model has "
                    f"no member; it has {list(there)}"
                )
        if self.inference.folds is not None:
            _refuse_missing(self.plan, keys, self.inference.folds)

    @property
    def last_stages(self) -> tuple[str, ...]:
        """The configurations whose networks decide: those that no other one of the model has as its previous stage.

        Or those that the model names.
        """
        if self.deciding:
            return self.deciding
        names = dict.fromkeys(member.configuration for member in self.members)
        first_stages = {self.plan.configuration(name).previous_stage for name in names}
        return tuple(name for name in names if name not in first_stages)

    def architecture(self, member: Member) -> str:
        """Return the name of a member's network, the plan's where it is the planned one."""
        planned = self.plan.configuration(member.configuration).architecture
        return planned if member.network == "planned" else member.network


def refuse_cascade(bundle: Bundle, export_format: str) -> None:
    """Raise `UsageError` for a model of two stages, for which formats that know single networks have no words."""
    for member in bundle.members:
        previous = bundle.plan.configuration(member.configuration).previous_stage
        if previous is not None:
            raise UsageError(
                f"format={export_format} cannot hold a cascade: {member.configuration} takes the segmentation of "
                f"{previous} as input; format=zip can, or export a model of another configuration"
            )


def save_bundle(folder: Path, bundle: Bundle) -> None:
    """Write a model into `folder`. One that is there stays whole until the new one is; its files are removed then."""
    entries = []
    for member in bundle.members:
        content = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in member.weights.items()})
        digest = hashlib.sha256(content).hexdigest()
        file = f"{member.configuration}_fold_{member.fold}-{digest[:8]}{SUFFIX}"
        with atomic_path(folder / file) as temporary:
            temporary.write_bytes(content)
        network = member.network, file, digest, member.target, dict(member.arguments)
        entries.append(MemberEntry(member.configuration, member.fold, *network))
    manifest = ModelManifest(
        FORMAT_VERSION, bundle.plan, tuple(entries), bundle.mirror_axes, bundle.inference, bundle.provenance,
        bundle.postprocessing, bundle.deciding,
    )  # fmt: skip
    write_text(folder / CARD, _card(manifest))
    write_text(
        folder / MANIFEST,
        "# A packaged segmentation model. The weights lie beside it.\n" + dump_yaml(to_plain(manifest)),
    )
    named = {entry.file for entry in entries}
    for stale in folder.glob(f"*{SUFFIX}"):
        if stale.name not in named:
            stale.unlink()


def load_bundle(path: Path, folds: Collection[Fold] | None = None, every_member: bool = False) -> Bundle:
    """Read what predicts of a model, from a folder or a `.zip` of one, weights included (on the CPU).

    That is `folds` or, where these are not given, the model's own `inference.folds` or else all; with `every_member`,
    those that do not predict, too.
    Raises `ArtefactError` when it is missing, incomplete, damaged (hash), written by a newer version, or when
    `model.yaml` has an unknown or wrong entry, `UsageError` for a fold that some configuration of it lacks. Only files
    that lie directly beside `model.yaml` are read, and nothing is extracted.
    """
    with open_package(path) as read:
        manifest = read_manifest(path, read(MANIFEST))
        inference = manifest.inference
        if not every_member:
            folds, inference = folds or inference.folds, replace(inference, folds=None)
        members = tuple(_member(path, entry, read) for entry in _chosen(manifest.plan, manifest.members, folds))
    try:
        return Bundle(
            manifest.plan, members, manifest.mirror_axes, inference, manifest.provenance,
            manifest.postprocessing, manifest.deciding,
        )  # fmt: skip
    except UsageError as error:
        raise ArtefactError(f"{path}: {MANIFEST}: {error}") from error


def save_zip(target: Path, folder: Path) -> None:
    """Write the model in `folder` as one `.zip`, at once or not at all; the same model gives the same bytes.

    Raises `ArtefactError` when the model is not whole.
    """
    with open_package(folder) as read:
        content = read(MANIFEST)
        manifest = read_manifest(folder, content)
        files = {MANIFEST: content, CARD: _card(manifest).encode()}
        for entry in manifest.members:
            files[entry.file] = _content(folder, entry, read)
    write_zip(target, files)


def load_provenance(folder: Path) -> Provenance | None:
    """Return where the model in `folder` comes from; None where there is no model, or one that is damaged."""
    try:
        with open_package(folder) as read:
            manifest = read_manifest(folder, read(MANIFEST))
        whole = all(sha256(folder / entry.file) == entry.sha256 for entry in manifest.members)
    except (OSError, ArtefactError):
        return None
    return manifest.provenance if whole else None


def _card(manifest: ModelManifest) -> str:
    members = [(entry.configuration, entry.fold, entry.network) for entry in manifest.members]
    steps = manifest.postprocessing if manifest.inference.postprocessing else ()
    return model_card(manifest.plan, members, manifest.provenance, steps, manifest.inference.folds)


def _chosen(plan: Plan, entries: tuple[MemberEntry, ...], folds: Collection[Fold] | None) -> list[MemberEntry]:
    """Return the entries of `folds`, each of which every configuration must have.

    The first stage of a cascade may lack some (a model of every case is fed by folds): all of it is returned then.
    """
    if folds is None:
        return list(entries)
    there = _refuse_missing(plan, [(entry.configuration, entry.fold) for entry in entries], folds)
    first_stages = _first_stages(plan, there)
    whole = {name for name in first_stages if not set(folds) <= set(there.get(name or "", ()))}
    return [entry for entry in entries if entry.fold in folds or entry.configuration in whole]


def _refuse_missing(
    plan: Plan, members: Iterable[tuple[str, Fold]], folds: Collection[Fold]
) -> Mapping[str, Sequence[Fold]]:
    """Return configuration -> its folds; `UsageError` where one that feeds no other lacks one of `folds`."""
    there: dict[str, list[Fold]] = {}
    for configuration, fold in members:
        there.setdefault(configuration, []).append(fold)
    chosen = {name: of_one for name, of_one in there.items() if name not in _first_stages(plan, there)}
    missing = [fold for fold in folds if any(fold not in of_one for of_one in chosen.values())]
    if missing:
        listed = "; ".join(f"{name}: {', '.join(map(str, of_one))}" for name, of_one in chosen.items())
        raise UsageError(f"inference.folds: the model has no fold {missing[0]}; its folds are {listed}")
    return there


def _first_stages(plan: Plan, names: Iterable[str]) -> set[str | None]:
    return {plan.configuration(name).previous_stage for name in names if name in plan.configurations}


def _member(path: Path, entry: MemberEntry, read: Read) -> Member:
    content, place = _content(path, entry, read), f"{path}: {entry.file}"
    weights = read_tensors(lambda: safetensors.torch.load(content), place)
    return Member(entry.configuration, entry.fold, entry.network, weights, entry.target, entry.arguments, entry.sha256)


def read_tensors(read: Callable[[], dict[str, Tensor]], place: str) -> dict[str, Tensor]:
    """Return what `read` makes of safetensors; `ArtefactError` for what are none, or no network's weights."""
    try:
        weights = read()
    except (SafetensorError, KeyError) as error:  # KeyError: of a type of numbers that this version does not know
        raise ArtefactError(f"{place} holds no safetensors that can be read: {error}") from error
    check_tensors(weights, place)
    return weights


def _content(path: Path, entry: MemberEntry, read: Read) -> bytes:
    """Return the bytes of a member's file, which are those that the manifest was written for."""
    check_member_file(path, entry.file)
    content = read(entry.file)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise ArtefactError(
            f"{path}: {entry.file} is damaged or was exchanged: its SHA-256 is {digest}, {MANIFEST} says {entry.sha256}"
        )
    return content
