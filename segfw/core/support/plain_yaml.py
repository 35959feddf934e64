"""YAML that programs have written, read fast by libyaml, and without danger where somebody has exchanged the file.

Nothing here writes aliases, of which a few lines can stand for billions of values, nor nests deeply, on which libyaml
runs out of stack and takes the process along. Both are refused before anything is built. YAML that people write is
`strict_yaml`'s.
"""

from typing import Any

import yaml

from segfw.core.support.strict_yaml import MAX_DEPTH, building, refuse_twice

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(LOADER):  # type: ignore[misc]
    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):  # else it is refused there
            refuse_twice(node)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def load_plain_yaml(text: str) -> Any:
    """Return mappings, lists and scalars. `yaml.YAMLError` also for aliases, keys given twice, and deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias, *{event.anchor}, is not allowed{_place(event)}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"lists or mappings are nested more than {MAX_DEPTH} deep{_place(event)}")
    loader = _Loader(text)
    try:
        with building():
            return loader.get_single_data()
    finally:
        loader.dispose()


def _place(event: yaml.Event) -> str:
    return "" if event.start_mark is None else f" (line {event.start_mark.line + 1})"
