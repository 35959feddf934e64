"""YAML that people edit, read without surprises and without danger.

Plain words mean what YAML 1.2 says: `yes`, `1:30` and `010` are text, where YAML 1.1 makes a truth value, 90 and 8 of
them. A key given twice, tags such as `!!python/name`, a file that refers to itself, and one that a few aliases blow up
to millions of values ("billion laughs") are refused.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from segfw.core.errors import UsageError

MAX_CHARACTERS = 4_000_000
MAX_NODES = 200_000
"""Values, keys and containers of a file, aliases written out; a plan of a thousand channels has about 20,000."""

MAX_DEPTH = 100
"""Lists and mappings within one another."""

_BRACKETS = re.compile(r"[\[\]{}]")
_INDENTED = re.compile(rf"^[ ?:-]{{{8 * MAX_DEPTH}}}", re.MULTILINE)
_TOO_DEEP = "lists or mappings are nested too deeply"
_NULL = re.compile(r"(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?(?=[eE])|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
_TAG = "tag:yaml.org,2002:"
_WORDS: tuple[tuple[str, re.Pattern[str], list[str]], ...] = (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)


class _Loader(yaml.SafeLoader):
    """Builds mappings, lists, text, numbers and truth values, and nothing else."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):  # else it is refused there
            refuse_twice(node)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes a list on one line unless it holds mappings, and never an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct_number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = str(loader.construct_scalar(node)).lower()
    try:
        if not node.tag.endswith("float"):
            return int(text)
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, f"{text[:40]!r}: {error}", node.start_mark) from error


def _construct_truth(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node))
    if not _BOOL.match(text):
        raise yaml.constructor.ConstructorError(None, None, f"{text[:40]!r} is no truth value", node.start_mark)
    return text.lower() == "true"


def _represent_list(dumper: _Dumper, data: list[Any]) -> yaml.Node:
    return dumper.represent_sequence(f"{_TAG}seq", data, flow_style=not any(isinstance(item, dict) for item in data))


_Loader.yaml_implicit_resolvers = {}  # what YAML 1.1 takes plain words for is not inherited
_Loader.yaml_constructors = {None: yaml.SafeLoader.construct_undefined}
for _name, _pattern, _first in _WORDS:
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first)
    _Dumper.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first)  # what would be read as a number is quoted
_CONSTRUCTORS: dict[str, Any] = {
    "null": yaml.SafeLoader.construct_yaml_null,
    "bool": _construct_truth,
    "int": _construct_number,
    "float": _construct_number,
    "str": yaml.SafeLoader.construct_yaml_str,
    "seq": yaml.SafeLoader.construct_yaml_seq,
    "map": yaml.SafeLoader.construct_yaml_map,
}
for _name, _constructor in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"{_TAG}{_name}", _constructor)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))  # such as PyTorch's version


@contextmanager
def building() -> Iterator[None]:
    """Turn whatever PyYAML's constructors raise over a value into `YAMLError`: `!!bool x` is a KeyError of theirs."""
    try:
        yield
    except yaml.YAMLError:
        raise
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        raise yaml.YAMLError(f"a value cannot be built: {type(error).__name__}: {str(error)[:200]}") from error


def refuse_twice(mapping: yaml.MappingNode) -> None:
    """Raise `YAMLError` with the line where a key is given again: the first value would be lost without a word."""
    first: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in first:
            twice = f"the key {key.value!r} is given twice, first in line {first[key.value] + 1}"
            raise yaml.constructor.ConstructorError(None, None, twice, key.start_mark)
        first[key.value] = key.start_mark.line


def refuse_deep(text: str) -> None:
    """Raise `YAMLError` for a text that is nested deeper than loaders can go, which takes them long, or ends them.

    Brackets are counted wherever they stand, in comments, too. A block is nested as deep as its line is indented.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH:
        depth = 0
        for bracket in _BRACKETS.finditer(text):
            depth += 1 if bracket[0] in "[{" else -min(depth, 1)
            if depth > MAX_DEPTH:
                raise yaml.YAMLError(_TOO_DEEP)
    if _INDENTED.search(text):
        raise yaml.YAMLError(_TOO_DEEP)


def dump_yaml(value: Any) -> str:
    """Write plain containers: keys in their order, innermost lists on one line however long."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)


def load_strict_yaml(text: str, what: str) -> Any:
    """Return the plain content of `text`. `UsageError`, beginning with `what`, for what is no YAML or not allowed."""
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{what} has {len(text)} characters, more than the {MAX_CHARACTERS} that are read")
    try:
        refuse_deep(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                check_size(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UsageError(f"{what} is no YAML: {_told(error)}") from error
    except RecursionError:
        raise UsageError(f"{what} is no YAML that can be read: {_TOO_DEEP}") from None


def _told(error: yaml.YAMLError) -> str:
    """Say in one line what is wrong and where."""
    mark = getattr(error, "problem_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return " ".join(str(error).split())
    words = ", ".join(part for part in (error.context, error.problem) if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: {words}"


def check_size(root: yaml.Node, most: int = MAX_NODES) -> None:
    """Raise `YAMLError` for a document that holds itself, or that its aliases make larger than `most` values."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise yaml.YAMLError(f"a part refers to itself\n{node.start_mark}")
            return known
        sizes[id(node)] = None
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        total = 1 + sum(size(part) for part in parts)
        if total > most:
            raise yaml.YAMLError(f"with its aliases written out it has more than {most} values\n{node.start_mark}")
        sizes[id(node)] = total
        return total

    size(root)
