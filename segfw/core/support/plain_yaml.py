"""YAML that programs have written, read fast by libyaml, and without danger where somebody has exchanged the file.

Nothing here writes aliases, of which a few lines can stand for billions of values, nor nests deeply, on which libyaml
runs out of stack and takes the process along. Both are refused before anything is built. YAML that people write is
`strict_yaml`'s.
"""

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_NESTED = 100


def load_plain_yaml(text: str) -> Any:
    """Return mappings, lists and scalars. Raises `yaml.YAMLError`, also for aliases and for deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, f"an alias, *{event.anchor}, is not allowed", event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_NESTED:
            problem = f"lists or mappings are nested more than {MOST_NESTED} deep"
            raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)
    loader = LOADER(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
