"""What `model.yaml` of a packaged model says, and what it may say."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from segfw.core.errors import ArtefactError, SegfwError, UsageError
from segfw.core.plan import Plan
from segfw.core.planning.checks import check_values
from segfw.core.scoring.postprocessing import Step
from segfw.core.settings.checks import check_numbers
from segfw.core.settings.choices import parse_members
from segfw.core.settings.schema import InferenceSettings, NetworkSettings
from segfw.core.support.conversion import from_plain
from segfw.core.support.strict_yaml import load_strict_yaml
from segfw.inference.package_files import MANIFEST
from segfw.inference.provenance import Provenance
from segfw.nn.build import check_arguments

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
Fold = int | Literal["full"]


@dataclass(frozen=True)
class MemberEntry:
    """A member as `model.yaml` lists it."""

    configuration: str
    fold: Fold
    network: str
    file: str
    sha256: str
    target: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelManifest:
    """The content of `model.yaml`."""

    format_version: int
    plan: Plan
    members: tuple[MemberEntry, ...]
    mirror_axes: tuple[int, ...]
    inference: InferenceSettings
    provenance: Provenance
    postprocessing: tuple[Step, ...] = ()
    deciding: tuple[str, ...] = ()


def read_manifest(path: Path, content: bytes) -> ModelManifest:
    """Read the `model.yaml` of the model at `path`; `ArtefactError` for what is none, or of a newer version."""
    try:
        plain: Any = load_strict_yaml(content.decode("utf-8"), f"{path}: {MANIFEST}")
    except UsageError as error:
        raise ArtefactError(str(error)) from error
    except UnicodeDecodeError as error:
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
        manifest = from_plain(ModelManifest, plain)
        _check_manifest(manifest)
        folds = parse_members(manifest.inference.folds)
        return replace(manifest, inference=replace(manifest.inference, folds=folds))
    except SegfwError as error:
        raise ArtefactError(f"{path}: {MANIFEST}: {error}") from error


def _check_manifest(manifest: ModelManifest) -> None:
    """Raise `UsageError` that names the key whose value no model of this package has."""
    check_numbers(manifest.inference, "inference")
    for index, entry in enumerate(manifest.members):
        place = f"members[{index}]"
        if entry.fold != "full" and entry.fold < 0:
            raise UsageError(f"{place}.fold must be at least 0, or full, got {entry.fold}")
        try:
            check_arguments(NetworkSettings(entry.network, entry.target, entry.arguments))
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from error
    try:
        check_values(manifest.plan)
    except UsageError as error:
        raise UsageError(f"plan: {error}") from error


def check_member_file(path: Path, name: str) -> None:
    """Raise `ArtefactError` for a name that is not that of a file of weights beside `model.yaml`."""
    if not name.endswith(SUFFIX) or name.startswith(".") or any(mark in name for mark in "/\\:"):
        raise ArtefactError(f"{path}: {MANIFEST} must name {SUFFIX} files beside it, got {name!r}")
