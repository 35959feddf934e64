"""From a composed configuration to typed settings; the only module that knows OmegaConf.

OmegaConf can merge neither into nested frozen dataclasses nor into `Literal` and tuples, so that Hydra composes onto
mutable twins of `segfw.core.settings.schema`, made here. They only hold keys and defaults: what a value may be is
decided once, in `load`, after composition.
"""

import copy
import dataclasses
import difflib
import json
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segfw.core.errors import UsageError
from segfw.core.settings.checks import check_settings
from segfw.core.settings.number_rules import WORDS
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.importing import TARGET

T = TypeVar("T")
CompositionError = OmegaConfBaseException

OmegaConf.register_new_resolver("same", lambda one, other: one == other, replace=True)  # ${same:${name},main}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a verb's configuration. `node`: it holds further keys; `free`: what lies below it is the user's.

    `literal`: its value is taken as it is typed; `listed`: it is a list; `words`: those that it allows, if it says so.
    `gathers`: what stands beside it with a `_target_` belongs to it.
    """

    dotted: str
    help: str
    node: bool = False
    free: bool = False
    literal: bool = False
    listed: bool = False
    words: tuple[str, ...] = ()
    gathers: bool = False

    @property
    def parent(self) -> str:
        """The dotted key of the node that holds it."""
        return self.dotted.rpartition(".")[0]


def schema(kind: type) -> Any:
    """Return the OmegaConf node that holds every key of the settings class `kind` with its default."""
    node = OmegaConf.structured(_twin(kind))
    for key in keys(kind):
        if key.gathers:
            OmegaConf.set_struct(OmegaConf.select(node, key.parent), False)
    return node


def keys(kind: type, place: str = "") -> Iterator[Key]:
    """Yield every key of the settings class `kind`, parents before their children."""
    hints = get_type_hints(kind)
    for declared in dataclasses.fields(kind):
        hint, dotted = hints[declared.name], f"{place}{declared.name}"
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            summary = (hint.__doc__ or "").splitlines()[0]
            yield Key(dotted, summary, node=True)
            yield from keys(hint, f"{dotted}.")
        else:
            yield Key(
                dotted,
                declared.metadata["help"],
                free=_is_mapping(hint),
                literal=bool(declared.metadata.get("literal")),
                listed=any(get_origin(each) is tuple for each in _alternatives(hint)),
                words=WORDS.get(dotted) or tuple(_words(hint)),
                gathers=bool(declared.metadata.get("gathers")),
            )


def check_key(kind: type, dotted: str) -> None:
    """Raise `UsageError` with the nearest valid key unless `dotted` is a key of `kind` or lies below a free one.

    What may be part of something to gather is let pass: only all of it tells (see `load`).
    """
    known = {key.dotted: key for key in keys(kind)}
    if dotted in known or any(dotted.startswith(f"{name}.") for name, key in known.items() if key.free):
        return
    for parent in (key.parent for key in known.values() if key.gathers):
        name, _, rest = dotted.removeprefix(f"{parent}.").partition(".")
        if dotted.startswith(f"{parent}.") and rest and f"{parent}.{name}" not in known:
            return
    close = _nearest_key(dotted, list(known))
    raise UsageError(f"unknown key {dotted!r}" + (f", did you mean {close!r}?" if close else ""))


def load(kind: type[T], container: Any, page: type | None = None) -> T:
    """Turn a composed configuration into checked settings of class `kind`.

    `page`: the class whose keys the configuration may hold, where `kind` takes only some of them.
    Raises `UsageError` for an unknown key, a value of the wrong type or out of range, or a reference to nothing.
    """
    try:
        if OmegaConf.is_dict(container) and "hydra" in container:  # refers to values that exist only while a job runs
            container = OmegaConf.masked_copy(container, [str(key) for key in container if key != "hydra"])
        plain = OmegaConf.to_container(container, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UsageError(f"{error.full_key or 'configuration'}: {(error.msg or str(error)).splitlines()[0]}") from error
    if not isinstance(plain, dict):
        raise UsageError(f"a configuration must be a mapping, got {plain!r}")
    _gather(page or kind, plain)
    _check_keys(page or kind, plain, "", page or kind)
    if page is not None:
        check_settings(from_plain(page, plain))
        plain = {key: value for key, value in plain.items() if key in get_type_hints(kind)}
    return check_settings(from_plain(kind, plain))


def config_folder() -> Path:
    """Return the folder of YAML files: inside the package when installed from a wheel, else beside it."""
    package = Path(__file__).resolve().parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def describe(kind: type, container: Any) -> str:
    """Return the configuration as YAML, each key followed by its meaning."""
    plain = OmegaConf.to_container(container, resolve=False)
    lines = []
    for key in keys(kind):
        *parents, name = key.dotted.split(".")
        value: Any = plain
        for part in (*parents, name):
            value = value.get(part) if isinstance(value, dict) else None
        shown = f"{'  ' * len(parents)}{name}:" + ("" if key.node else f" {json.dumps(value, ensure_ascii=False)}")
        lines.append(f"{shown:<44} # {key.help}")
    return "\n".join(lines)


def _twin(kind: type) -> type:
    """Return a mutable copy of `kind` in which text stays text and all else is open, its defaults as plain values."""
    hints = get_type_hints(kind)
    members = []
    for declared in dataclasses.fields(kind):
        hint = hints[declared.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            twin = _twin(hint)
            members.append((declared.name, twin, dataclasses.field(default_factory=twin)))
            continue
        factory = declared.default_factory
        default = to_plain(declared.default if factory is dataclasses.MISSING else factory())
        held: Any = {str: str, str | None: str | None}.get(hint, Any)
        if isinstance(default, dict | list):
            member = dataclasses.field(default_factory=partial(copy.deepcopy, default))
        else:
            member = dataclasses.field(default=default)
        members.append((declared.name, held, member))
    return dataclasses.make_dataclass(kind.__name__, members)


def _is_mapping(hint: Any) -> bool:
    return any(get_origin(each) is dict for each in _alternatives(hint))


def _alternatives(hint: Any) -> list[Any]:
    """Return the types of a union, or the one that `hint` is."""
    if get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    return [each for argument in get_args(hint) for each in _alternatives(argument)]


def _words(hint: Any) -> Iterator[str]:
    """Yield the words that a type spells out."""
    for each in _alternatives(hint):
        if each is bool:
            yield from ("true", "false")
        elif each is type(None):
            yield "null"
        elif get_origin(each) is Literal:
            yield from map(str, get_args(each))


def _check_keys(root: type, plain: dict[Any, Any], place: str, kind: type) -> None:
    hints = get_type_hints(kind)
    for name, value in plain.items():
        dotted = f"{place}{name}"
        if name not in hints:
            check_key(root, dotted)
        elif dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            _check_keys(root, value, f"{dotted}.", hints[name])


def _gather(kind: type, plain: dict[Any, Any]) -> None:
    """Move the mappings with a `_target_` that stand beside a setting that gathers them into it."""
    hints = get_type_hints(kind)
    for declared in dataclasses.fields(kind):
        name, value = declared.name, plain.get(declared.name)
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            _gather(hints[name], value)
        elif declared.metadata.get("gathers") and isinstance(value, dict):
            parts = [key for key, item in plain.items() if isinstance(item, dict) and TARGET in item]
            value.update({key: plain.pop(key) for key in parts if key not in hints})


def _nearest_key(dotted: str, known: list[str]) -> str | None:
    """Return the most likely intended key: the same word elsewhere, a similar one beside it, a similar one anywhere."""
    parent, _, word = dotted.rpartition(".")
    same_word = [key for key in known if key.rpartition(".")[2] == word]
    if len(same_word) == 1:
        return same_word[0]
    beside = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    near = difflib.get_close_matches(word, list(beside), n=1, cutoff=0.6)
    if near:
        return beside[near[0]]
    near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.6)
    if near:
        return near[0]
    words = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.75)
    return words[near[0]] if near else None
