"""Plans as YAML that people read and edit: a comment on every block, short lists on one line, strict when read back."""

import textwrap
from collections.abc import Mapping
from typing import Any

from segfw.core.errors import SegfwError, UsageError
from segfw.core.plan import Plan
from segfw.core.planning.checks import check_plan
from segfw.core.planning.comments import COMMENTS, CONFIGURATION_COMMENTS, HEADER
from segfw.core.planning.inheritance import find_inheritance, resolve_inheritance
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.strict_yaml import dump_yaml, load_strict_yaml

_COMMENT_WIDTH = 108


def plan_to_yaml(plan: Plan, reasons: Mapping[str, str] | None = None) -> str:
    """Write `plan` as YAML with a comment on each block; numbers come back bit for bit.

    `reasons`: dotted key -> what led to the block that begins there, such as `plan_reasons` gives.
    """
    reasons = reasons or {}
    plain = to_plain(plan)
    configurations = find_inheritance(plain.pop("configurations"))
    parts = [_comment(HEADER), _blocks(plain, COMMENTS, reasons), "\n"]
    parts += [_comment(COMMENTS["configurations"], reasons.get("configurations", "")), "configurations:\n"]
    for name, configuration in configurations.items():
        key = dump_yaml({name: None}).removesuffix(" null\n")
        place = f"configurations.{name}."
        own = {key.removeprefix(place): text for key, text in reasons.items() if key.startswith(place)}
        blocks = _blocks(configuration, CONFIGURATION_COMMENTS, own, indent=4).removeprefix("\n")
        parts.append(f"\n  {key}\n{blocks}")
    return "".join(parts)


def plan_from_yaml(text: str, place: str = "") -> Plan:
    """Read a plan. `place` says where the text comes from, for messages.

    A configuration may say `inherits: NAME` and hold only the keys in which it differs. Raises `UsageError` for text
    that is no YAML, an unknown key (naming the nearest), or a value that is impossible at its place.
    """
    plain = load_strict_yaml(text, place or "the plan")
    if plain is None:
        raise UsageError(f"{place or 'the plan'} is empty")
    if isinstance(plain, dict) and "plans_name" in plain:
        raise UsageError(f"{place or 'the plan'} is a plans file of nnU-Net; {_conversion(place)}")
    try:
        if isinstance(plain, dict) and isinstance(plain.get("configurations"), dict):
            plain["configurations"] = resolve_inheritance(plain["configurations"])
        plan = from_plain(Plan, plain)
        check_plan(plan)
    except SegfwError as error:
        raise UsageError(f"{place}: {error}" if place else str(error)) from error
    return plan


def _conversion(path: str) -> str:
    """Return the command that converts a plans file of nnU-Net."""
    return (
        "with its dataset.json beside it, this makes a plan.yaml of it: "
        'python -c "from segfw.core.planning.plan_yaml import plan_to_yaml; '
        "from segfw.interop.nnunet import read_plans; "
        f"open('plan.yaml', 'w', encoding='utf-8').write(plan_to_yaml(read_plans({path!r})))\""
    )


def _blocks(mapping: dict[str, Any], comments: dict[str, str], reasons: Mapping[str, str], indent: int = 0) -> str:
    """Write the entries of a mapping, an empty line and a comment before each that opens a block."""
    parts = []
    for key, value in mapping.items():
        comment = _comment(comments.get(key, ""), reasons.get(key, ""), indent=indent)
        entry = textwrap.indent(dump_yaml({key: value}), " " * indent)
        parts.append(("\n" + comment if comment else "") + entry)
    return "".join(parts)


def _comment(*texts: str, indent: int = 0) -> str:
    """Write each text as lines of comment, to column 110 at most."""
    lines = [line for text in texts for line in textwrap.wrap(text, _COMMENT_WIDTH - indent)]
    return "".join(f"{' ' * indent}# {line}\n" for line in lines)
