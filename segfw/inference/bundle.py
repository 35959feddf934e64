"""The packaged model: weights as safetensors, everything else in `model.yaml`, nothing that would have to be unpickled.

    model.yaml                              format version, plan, members with SHA-256, mirroring, settings, provenance
    3d_fullres_fold_0-1a2b3c4d.safetensors  one file per member; its name carries its hash, so that a new model never
                                            overwrites a file that the old `model.yaml` still names

Members are written first and `model.yaml` last, at once: a folder that has it is complete. A `.zip` of the folder is as
good. No case names, paths or hosts are in it.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import yaml
from safetensors import SafetensorError
from torch import Tensor

from segfw.core.conversion import from_plain, to_plain
from segfw.core.errors import ArtefactError, SegfwError, UsageError
from segfw.core.files import atomic_path, sha256, write_text
from segfw.core.plan import Plan
from segfw.core.settings import InferenceSettings, NetworkSettings

FORMAT_VERSION = 1
MANIFEST = "model.yaml"
SUFFIX = ".safetensors"
Fold = int | Literal["full"]


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    `created`: date; `dataset`: hash of the dataset's content, never its location; `versions`: of the packages that
    trained it; `scores`: cross-validated figures by name; `settings`: what it was trained with; `made_from`: hashes of
    its runs.
    """

    created: str = ""
    dataset: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Member:
    """The trained weights of one fold of one configuration. `network`: name of the architecture that they fit.

    `target`: import path of a network that is none of this package's; `arguments`: further ones of the network.
    """

    configuration: str
    fold: Fold
    network: str
    weights: Mapping[str, Tensor]
    target: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> NetworkSettings:
        """What builds the network."""
        return NetworkSettings(self.network, self.target, dict(self.arguments))


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model: its plan, as it was trained with, and its members.

    `mirror_axes`: axes of the window along which training mirrored, empty for none; a 2D member has the first two at
    most. Raises `UsageError` without members, for two of the same fold, or for a configuration that the plan lacks.
    """

    plan: Plan
    members: tuple[Member, ...]
    mirror_axes: tuple[int, ...]
    inference: InferenceSettings
    provenance: Provenance

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("a model needs at least one member, got none")
        keys = [(member.configuration, member.fold) for member in self.members]
        if len(set(keys)) < len(keys):
            raise UsageError(f"a model holds each fold of a configuration once, got {keys}")
        axes = set(self.mirror_axes)
        if len(axes) < len(self.mirror_axes) or not axes <= {0, 1, 2}:
            raise UsageError(f"mirror_axes must be among 0, 1 and 2, each once, got {self.mirror_axes}")
        for member in self.members:
            self.plan.configuration(member.configuration)


@dataclass(frozen=True)
class _Entry:
    """A member as `model.yaml` lists it."""

    configuration: str
    fold: Fold
    network: str
    file: str
    sha256: str
    target: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Manifest:
    """The content of `model.yaml`."""

    format_version: int
    plan: Plan
    members: tuple[_Entry, ...]
    mirror_axes: tuple[int, ...]
    inference: InferenceSettings
    provenance: Provenance


class _Dumper(yaml.SafeDumper):
    """Also writes text of a derived type, such as PyTorch's version."""


_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))


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
        entries.append(_Entry(member.configuration, member.fold, *network))
    manifest = _Manifest(
        FORMAT_VERSION, bundle.plan, tuple(entries), bundle.mirror_axes, bundle.inference, bundle.provenance
    )
    text = yaml.dump(
        to_plain(manifest), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True
    )
    write_text(folder / MANIFEST, "# A packaged segmentation model. The weights lie beside it.\n" + text)
    named = {entry.file for entry in entries}
    for stale in folder.glob(f"*{SUFFIX}"):
        if stale.name not in named:
            stale.unlink()


def load_bundle(path: Path) -> Bundle:
    """Read a model from a folder or a `.zip` of one, all weights included (on the CPU).

    Raises `ArtefactError` when it is missing, incomplete, damaged (hash), written by a newer version, or when
    `model.yaml` has an unknown or wrong entry. Only files that lie directly beside `model.yaml` are read, and nothing
    is extracted.
    """
    if path.is_dir():
        return _load(path, lambda name: (path / name).read_bytes())
    if not path.is_file():
        raise ArtefactError(f"no model at {path}: there is neither a folder nor a .zip")
    try:
        with zipfile.ZipFile(path) as archive:
            top = _top_folder(path, archive)
            return _load(path, lambda name: archive.read(top + name))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArtefactError(f"{path} is no .zip that can be read: {error}") from error


def load_provenance(folder: Path) -> Provenance | None:
    """Return where the model in `folder` comes from; None where there is no model, or one that is damaged."""
    try:
        manifest = _manifest(folder, (folder / MANIFEST).read_bytes())
        whole = all(sha256(folder / entry.file) == entry.sha256 for entry in manifest.members)
    except (OSError, ArtefactError):
        return None
    return manifest.provenance if whole else None


def _top_folder(path: Path, archive: zipfile.ZipFile) -> str:
    """Return the prefix of the model's files in the archive: none, or one folder."""
    found = [name for name in archive.namelist() if name.split("/")[-1] == MANIFEST and name.count("/") <= 1]
    if not found:
        raise ArtefactError(f"{path} holds no {MANIFEST}, neither at its top nor in a folder there")
    return min(found, key=len).removesuffix(MANIFEST)


def _load(path: Path, read: Callable[[str], bytes]) -> Bundle:
    manifest = _manifest(path, _read(path, MANIFEST, read))
    members = []
    for entry in manifest.members:
        _check_name(path, entry.file)
        content = _read(path, entry.file, read)
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.sha256:
            raise ArtefactError(
                f"{path}: {entry.file} is damaged or was exchanged: its SHA-256 is {digest}, "
                f"{MANIFEST} says {entry.sha256}"
            )
        try:
            weights = safetensors.torch.load(content)
        except SafetensorError as error:
            raise ArtefactError(f"{path}: {entry.file} holds no safetensors: {error}") from error
        members.append(Member(entry.configuration, entry.fold, entry.network, weights, entry.target, entry.arguments))
    try:
        return Bundle(manifest.plan, tuple(members), manifest.mirror_axes, manifest.inference, manifest.provenance)
    except UsageError as error:
        raise ArtefactError(f"{path}: {MANIFEST}: {error}") from error


def _manifest(path: Path, content: bytes) -> _Manifest:
    try:
        plain: Any = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: {MANIFEST} is no YAML: {error}") from error
    version = plain.get("format_version") if isinstance(plain, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ArtefactError(
            f"{path}: {MANIFEST} must state a format_version from 1 to {FORMAT_VERSION}, got {version!r}"
        )
    if version > FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: {MANIFEST} has format_version {version}, this segfw reads up to {FORMAT_VERSION}: update segfw"
        )
    try:
        return from_plain(_Manifest, plain)
    except SegfwError as error:
        raise ArtefactError(f"{path}: {MANIFEST}: {error}") from error


def _read(path: Path, name: str, read: Callable[[str], bytes]) -> bytes:
    try:
        return read(name)
    except (FileNotFoundError, KeyError) as error:
        raise ArtefactError(f"the model at {path} is incomplete: {name} is missing") from error


def _check_name(path: Path, name: str) -> None:
    if not name.endswith(SUFFIX) or name.startswith(".") or any(mark in name for mark in "/\\:"):
        raise ArtefactError(f"{path}: {MANIFEST} must name {SUFFIX} files beside it, got {name!r}")
