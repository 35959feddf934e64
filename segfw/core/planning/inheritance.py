"""Configurations of a plan that say only how they differ from another one: `inherits: 3d_fullres`.

Reading resolves it and writing finds it; what is written comes back equal.
"""

from collections.abc import Mapping
from typing import Any

from segfw.core.errors import UsageError
from segfw.core.support.conversion import nearest

INHERITS = "inherits"


def resolve_inheritance(entries: Mapping[Any, Any], place: str = "configurations") -> dict[str, Any]:
    """Lay each entry's own keys over those of the entry it inherits from, along the whole chain.

    Mappings within are laid over one another likewise; any other value replaces the inherited one. Raises
    `UsageError` with the place of a parent that is not among the entries, or of a chain that goes in a circle.
    """
    given = {str(name): entry for name, entry in entries.items()}
    resolved: dict[str, Any] = {}
    for name in given:
        chain = _chain(given, name, resolved, place)
        for link in reversed(chain):
            resolved[link] = _resolve(given[link], resolved)
    return {name: resolved[name] for name in given}


def _chain(given: dict[str, Any], name: str, resolved: dict[str, Any], place: str) -> list[str]:
    """List `name` and its ancestors, nearest first, up to the first that is resolved already."""
    chain: dict[str, None] = {}
    while name not in resolved:
        chain[name] = None
        entry = given[name]
        if not isinstance(entry, dict) or INHERITS not in entry:
            break
        parent = entry[INHERITS]
        if not isinstance(parent, str) or parent not in given:
            others = [other for other in given if other != name]
            hint = nearest(str(parent), others)
            raise UsageError(f"{place}.{name}.{INHERITS} must be one of {others}, got {parent!r}{hint}")
        if parent in chain:
            links = list(chain)
            circle = " -> ".join((*links[links.index(parent) :], parent))
            raise UsageError(f"{place}.{name}.{INHERITS} goes round in a circle: {circle}")
        name = parent
    return list(chain)


def _resolve(entry: Any, resolved: dict[str, Any]) -> Any:
    if not isinstance(entry, dict) or INHERITS not in entry:
        return entry
    own = {key: value for key, value in entry.items() if key != INHERITS}
    parent = resolved[entry[INHERITS]]
    return _laid_over(parent, own) if isinstance(parent, dict) else parent


def _laid_over(below: dict[Any, Any], above: dict[Any, Any]) -> dict[Any, Any]:
    merged = dict(below)
    for key, value in above.items():
        kept = below.get(key)
        merged[key] = _laid_over(kept, value) if isinstance(kept, dict) and isinstance(value, dict) else value
    return merged


def find_inheritance(entries: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Write a stage of a cascade as what it changes of an earlier entry, where that is shorter.

    The other entries stay whole, so that each can be read on its own.
    """
    written: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        written[name] = entry
        if entry.get("previous_stage") is None:
            continue
        whole = [other for other in written if INHERITS not in written[other] and other != name]
        changes = {other: _changes(entries[other], entry) for other in whole if entries[other].keys() <= entry.keys()}
        parent = min(changes, key=lambda other: len(changes[other]), default=None)
        if parent is not None and 1 + len(changes[parent]) < len(entry):
            written[name] = {INHERITS: parent, **changes[parent]}
    return written


def _changes(parent: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in parent or parent[key] != value}
