"""Write docs/configuration.md from the declared settings: python -m scripts.docs.configuration

Every key with its default, what it allows and its meaning, as `segfw.core.settings` declares them, and every choice of
every group, as the first comment of its file under `configs/` tells it. A test says when the page is stale.
"""

import dataclasses
import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from segfw.command_line import VERBS, Verb
from segfw.core.settings.number_rules import NUMBER_RULES, WORDS
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.conversion import to_plain

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
TITLES = {str: "text", int: "integer", float: "number", bool: "`true`, `false`", type(None): "`null`"}
HEAD = "| key | default | allowed | meaning |\n|---|---|---|---|"
INTRODUCTION = """# Every key

<!-- Written by python -m scripts.docs.configuration; edit the settings' declarations instead. -->

A key is given as `KEY=VALUE` behind the verb, without a plus: `trainer.max_epochs=50`. A misspelt one is an error that
names the nearest; a value that is not allowed is one that names what is. `python -m segfw VERB --help` prints the
same list with the values that the command at hand would have:

```bash
python -m segfw experiment --help
python -m segfw predict --help
python -m segfw +task=Task04 print_config=true     # does it, and prints all of its settings first
```

`null` is "none", which some lines spell None; what it means stands there. Lists are written `[1,2]`, mappings
`"{liver: 2}"`; quote what your shell would read itself. A path is taken as it is typed. The same keys may stand in a
YAML file: a recipe in `configs/experiment/mine.yaml` of the working directory, which begins with the line
`# @package _global_` (without it the keys would lie below `experiment`), is `experiment=mine`; `--config-dir FOLDER`
adds another folder.

## Groups

A group is a set of keys under one name: `optimizer=adamw` sets several `optimizer.*` at once, and single keys can be
changed besides. Choices in bold are the defaults; [configs/experiment.yaml](../configs/experiment.yaml) is the main job
on one page. A task is given with a plus, `+task=Task04`. A file of the same form in `./configs/GROUP/` of the working
directory adds a choice. Of Hydra's own, `hydra/launcher=`, `hydra.launcher.*` and `hydra.sweeper.*` are told of in
[Sweeps](sweeps.md#launchers).
"""


def page() -> str:
    """Return the whole page."""
    sections = [
        INTRODUCTION,
        *_groups(),
        "\n## The main job\n",
        "`python -m segfw +task=Task04`, and `status`, `report`.",
    ]
    sections += _tables(ExperimentSettings, "")
    for name, verb in VERBS.items():
        if verb.settings is not ExperimentSettings:
            sections += _verb(name, verb)
    return "\n".join(sections).rstrip() + "\n"


def _groups() -> Iterator[str]:
    """Yield a table of the choices of each group of the main job."""
    defaults = _defaults()
    yield "| group | choice | what it is |\n|---|---|---|"
    for folder in sorted(path for path in (ROOT / "configs").iterdir() if path.is_dir() and path.name != "hydra"):
        for path in sorted(folder.glob("*.yaml")):
            if folder.name == "task" and not re.fullmatch(r"Demo|Task\d\d", path.stem):
                continue  # one that `init` has written here
            choice = f"**`{path.stem}`**" if defaults.get(folder.name) == path.stem else f"`{path.stem}`"
            yield f"| `{folder.name}` | {choice} | {_cell(_comment(path))} |"


def _defaults() -> dict[str, str]:
    """Return group -> choice, of those that the main job's page names."""
    content = yaml.safe_load((ROOT / "configs" / "experiment.yaml").read_text(encoding="utf-8"))
    return {
        group: choice for entry in content["defaults"] if isinstance(entry, dict) for group, choice in entry.items()
    }


def _comment(path: Path) -> str:
    """Return the first comment of a YAML file, up to the end of its first sentence."""
    lines = path.read_text(encoding="utf-8").splitlines()
    text = []
    for line in lines:
        if not line.startswith("#") or line == "#":
            break
        if "@package" not in line:
            text.append(line.lstrip("# ").rstrip())
    return re.split(r"(?<! al)\. (?=[A-Z])", " ".join(text))[0].rstrip(".")


def _verb(name: str, verb: Verb) -> Iterator[str]:
    yield f"\n## {name}\n"
    yield f"{verb.summary[0].upper()}{verb.summary[1:]}: `{verb.example}`"
    yield from _tables(verb.settings, "", known=set(_nodes(ExperimentSettings)))


def _nodes(kind: type) -> Iterator[type]:
    """Yield the classes whose keys lie below a key of `kind`."""
    yield from (hint for hint in get_type_hints(kind).values() if dataclasses.is_dataclass(hint))  # type: ignore[misc]


def _tables(kind: type, place: str, known: set[type] | None = None) -> Iterator[str]:
    """Yield the table of the keys of `kind`, then those of what lies below; classes that are `known` are named only."""
    hints = get_type_hints(kind)
    rows, below = [], []
    for declared in dataclasses.fields(kind):
        hint, dotted = hints[declared.name], f"{place}{declared.name}"
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            below.append((hint, f"{dotted}."))
        else:
            rows.append(_row(dotted, hint, declared))
    if rows:
        yield "\n".join(["", HEAD, *rows])
    for hint, dotted in below:
        if hint in (known or ()):
            yield f"\n`{dotted}*`: as for the main job."
            continue
        summary = (hint.__doc__ or "").splitlines()[0]
        yield f"\n### `{dotted}*`\n\n{summary}"
        yield from _tables(hint, dotted)


def _row(dotted: str, hint: Any, declared: dataclasses.Field[Any]) -> str:
    factory = declared.default_factory
    default = to_plain(declared.default if factory is dataclasses.MISSING else factory())
    shown = "null" if default is None else default if isinstance(default, str) else json.dumps(default)
    return f"| `{dotted}` | `{shown}` | {_cell(_allowed(dotted, hint))} | {_cell(declared.metadata['help'])} |"


def _allowed(dotted: str, hint: Any) -> str:
    """Say what values a key takes: words, or kinds of values with the rule that their numbers keep."""
    if dotted in WORDS:
        return ", ".join(f"`{word}`" for word in WORDS[dotted])
    if hint is Any:
        return "see meaning"
    kinds = list(dict.fromkeys(text for each in _alternatives(hint) for text in _kind(each)))
    rule = NUMBER_RULES.get(dotted) or NUMBER_RULES.get(f"{dotted.split('.')[0]}.*")
    numeric = any("integer" in kind or "number" in kind or "[low, high]" in kind for kind in kinds)
    return ", ".join(kinds) + (f"; {rule[1]}" if rule and numeric else "")


def _kind(hint: Any) -> Iterator[str]:
    """Yield in words what one type of a union allows."""
    if get_origin(hint) is Literal:
        yield from (f"`{word}`" for word in get_args(hint))
    elif get_origin(hint) is tuple:
        yield _list(get_args(hint))
    elif get_origin(hint) is dict:
        yield "mapping"
    else:
        yield TITLES[hint]


def _list(members: tuple[Any, ...]) -> str:
    if members == (float, float):
        return "[low, high] numbers"
    inner = [text for each in _alternatives(members[0]) for text in _kind(each)]
    plural = {"integer": "integers", "number": "numbers", "list of integers": "lists of integers"}
    return f"list of {' or '.join(plural.get(text, text) for text in inner)}"


def _alternatives(hint: Any) -> list[Any]:
    """Return the types of a union, or the one that `hint` is; what may be null comes last."""
    if get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    return sorted(
        (each for argument in get_args(hint) for each in _alternatives(argument)), key=lambda e: e is type(None)
    )


def _cell(text: str) -> str:
    """Return text as it may stand in a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("_target_", "`_target_`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
