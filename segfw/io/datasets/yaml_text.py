"""YAML read twice: with types, and with every scalar as the text that stands there.

Names of cases and paths are text: `007`, `1e3` and `no` are what they look like.
"""

from pathlib import Path
from typing import Any

import yaml

from segfw.core.errors import DataError
from segfw.core.support.strict_yaml import building, check_size, refuse_deep, refuse_twice

MAX_VALUES = 5_000_000
"""Of a list of cases, aliases written out: a hundred thousand cases of many columns."""


def load_typed_and_text(path: Path) -> tuple[Any, Any]:
    """Return a file's content with types and as text; `DataError` for what is no YAML, and a key given twice."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        refuse_deep(text)
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None:
            check_size(node, MAX_VALUES)
            _refuse_below(node, set())
        with building():
            return yaml.safe_load(text), yaml.load(text, yaml.BaseLoader)  # noqa: S506  it makes text of all
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error


def _refuse_below(node: yaml.Node, seen: set[int]) -> None:
    """Refuse every mapping that holds a key twice, each once where aliases name it again."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_below(item, seen)
    elif isinstance(node, yaml.MappingNode):
        refuse_twice(node)
        for key, value in node.value:
            _refuse_below(key, seen)
            _refuse_below(value, seen)
