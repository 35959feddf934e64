"""Every generated path, and how artefacts are saved, loaded and judged fresh or stale.

A YAML artefact ends in one comment line, its record: the hashes of what it was made from and of its own content. So a
file tells whether its inputs have changed since, and whether a person has edited it, and stays plain YAML for
everybody else.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from segfw.core.errors import ArtefactError
from segfw.core.support.conversion import changed_keys, to_plain
from segfw.core.support.files import remove_remains, write_text
from segfw.core.support.plain_yaml import load_plain_yaml
from segfw.core.support.strict_json import load_strict_json

RECORD = "# record: "
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where PyYAML has it, which takes a fifth of the time: of many cases that is seconds."""
MadeFrom = dict[str, str]


@dataclass(frozen=True)
class Workspace:
    """The folder of one dataset's artefacts, `outputs/<dataset>`; each attribute or method is one path in it."""

    root: Path

    @property
    def dataset(self) -> Path:
        """What the dataset is and the state of its raw files."""
        return self.root / "dataset.yaml"

    @property
    def dataset_twin(self) -> Path:
        """The same as `dataset`, in a form that is read at once."""
        return self.root / ".cache" / "dataset.json"

    @property
    def splits(self) -> Path:
        """The folds, in nnU-Net's form."""
        return self.root / "splits.json"

    @property
    def fingerprint(self) -> Path:
        """What planning knows of the images."""
        return self.root / "fingerprint.yaml"

    @property
    def verification(self) -> Path:
        """Every fault of the raw data, and what each case holds."""
        return self.root / "verification.json"

    def plan(self, planner: str) -> Path:
        """The plan that `planner` made."""
        return self.root / "plans" / f"{planner}.yaml"

    def store(self, name: str) -> Path:
        """A folder of preprocessed cases."""
        return self.root / "preprocessed" / name

    def checked_files(self, store: str) -> Path:
        """What is known of the files of a store as they lie on this disk; the store is the same wherever it is made."""
        return self.root / ".cache" / f"checked_{store}.json"

    def runs(self, name: str) -> Path:
        """All training runs of one variant."""
        return self.root / "runs" / name

    def run(self, name: str, planner: str, network: str, configuration: str, fold: int | str) -> Path:
        """One fold's training."""
        return self.runs(name) / planner / network / configuration / f"fold_{fold}"

    def selection(self, name: str) -> Path:
        """Every candidate with its score, and the winner."""
        return self.root / "selection" / f"{name}.yaml"

    def model(self, name: str) -> Path:
        """The packaged winner."""
        return self.root / "models" / name

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.root / "report" / "index.html"

    def lock(self, what: str) -> Path:
        """The lock file of an artefact; `what` is its path below the root."""
        return self.root / ".locks" / f"{what.replace('/', '_')}.lock"

    def relative(self, path: Path) -> str:
        """`path` below the root, as it is named in messages."""
        return path.relative_to(self.root).as_posix()


class State(Enum):
    """How an artefact stands to its inputs."""

    MISSING = "missing"
    FRESH = "fresh"
    STALE = "stale"
    EDITED = "edited by hand"


@dataclass(frozen=True)
class Standing:
    """The state of an artefact, and in words which of its inputs changed (an edited one may be stale besides)."""

    state: State
    why: str = ""


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that change with any part of `value` (dataclasses, containers, scalars)."""
    text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_artefact(path: Path, text: str, made_from: MadeFrom, value: str = "") -> None:
    """Write the YAML `text` with its record, at once or not at all. Only for the holder of its lock.

    `value`: `digest` of what the text says, for those who need no more of a long file (see `recorded_value`).
    """
    text = text if text.endswith("\n") else text + "\n"
    remove_remains(path)
    record = {"made_from": made_from, "content": _content(text)} | ({"value": value} if value else {})
    write_text(path, f"{text}{RECORD}{json.dumps(record)}\n")


def read_artefact(path: Path) -> str:
    """Return an artefact's YAML without its record; `ArtefactError` if the file is missing."""
    return _split(path)[0]


def standing(path: Path, made_from: MadeFrom) -> Standing:
    """Judge an artefact by its record: missing, fresh, stale (naming the input that changed) or edited by hand."""
    if not path.exists():
        return Standing(State.MISSING, "not there yet")
    text, record = _split(path)
    made_before = record.get("made_from")
    before = made_before if isinstance(made_before, dict) else {}
    changed = changed_keys(before, made_from) if record else []
    since = f"{', '.join(changed)} changed since" if changed else ""
    if record.get("content") != _content(text):
        return Standing(State.EDITED, since)
    return Standing(State.STALE, since) if changed else Standing(State.FRESH)


def recorded_value(path: Path) -> str:
    """Return the digest of what an unchanged artefact says, as its record keeps it; '' where it must be read."""
    text, record = _split(path)
    value = record.get("value")
    return value if isinstance(value, str) and record.get("content") == _content(text) else ""


def recorded_inputs(path: Path) -> MadeFrom:
    """Return what an artefact was made from by its record; nothing where it has none."""
    made_from = _split(path)[1].get("made_from")
    return {str(key): str(value) for key, value in made_from.items()} if isinstance(made_from, dict) else {}


def to_yaml(value: Any, comment: str = "") -> str:
    """Turn a value into YAML: blocks outside, innermost lists on one line, `comment` on top."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + yaml.dump(
        to_plain(value), Dumper=DUMPER, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )


def load_yaml(path: Path) -> Any:
    """Return the plain content of a YAML file; `ArtefactError` if it is missing or not YAML."""
    try:
        return load_plain_yaml(read_artefact(path))
    except yaml.YAMLError as error:
        raise ArtefactError(f"{path} is not valid YAML: {error}") from error


def load_json(path: Path) -> Any:
    """Return the plain content of a JSON file; `ArtefactError` if it is missing or not JSON."""
    try:
        return load_strict_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is not valid JSON: {error}") from error


def _content(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _split(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from error
    body, mark, last = text.rpartition(RECORD)
    if not mark or "\n" in last.rstrip("\n"):
        return text, {}
    try:
        record = load_strict_json(last)
    except ValueError:
        record = {}
    return body, record if isinstance(record, dict) else {}
