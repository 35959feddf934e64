"""YAML read twice: with types, and with every scalar as the text that stands there.

Names of cases and paths are text: `007`, `1e3` and `no` are what they look like.
"""

from pathlib import Path
from typing import Any

import yaml

from segfw.core.errors import DataError


def load_typed_and_text(path: Path) -> tuple[Any, Any]:
    """Return a file's content with types and as text; `DataError` for what is no YAML and a key given twice."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        _refuse_twice(yaml.compose(text, yaml.SafeLoader), set())
        return yaml.load(text, yaml.SafeLoader), yaml.load(text, yaml.BaseLoader)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error


def _refuse_twice(node: yaml.Node | None, seen: set[int]) -> None:
    """Walk the tree of nodes, each once; mappings that hold a key twice would silently lose the first."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twice(item, seen)
    elif isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is given twice", node.start_mark)
        for key, value in node.value:
            _refuse_twice(key, seen)
            _refuse_twice(value, seen)
