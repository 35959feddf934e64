"""The YAML file that says what a dataset is, with a comment on each thing that its user may want to change."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from segfw.core.labels import BACKGROUND
from segfw.core.support.references import escape_references

PLAIN = re.compile(r"[A-Za-z/_][\w./-]*", re.ASCII)
NESTED = ("whole", "core", "inner")


@dataclass(frozen=True)
class TaskDraft:
    """What was found out about a dataset.

    `values`: those of the label maps, ascending. `normalization`: a scheme per channel where the names do not say it.
    `group_pattern`: regular expression of the patient in the cases' names, where several share one.
    """

    name: str
    folder: str
    channels: tuple[str, ...]
    values: tuple[int, ...]
    modality: str | None = None
    normalization: tuple[str, ...] | None = None
    group_pattern: str | None = None


def consecutive(values: Sequence[int]) -> dict[int, int]:
    """Return {value in the files: value to use} that makes values count up from 0, without those that stay.

    Negative values come last, where the ignore label stands.
    """
    ordered = sorted({0, *values}, key=lambda value: (value < 0, abs(value)))
    return {old: new for new, old in enumerate(ordered) if old != new}


def label_name(value: int) -> str:
    """Return the name a label has until its user gives it a better one."""
    return BACKGROUND if value == 0 else f"label_{value}".replace("-", "minus_")


def task_text(draft: TaskDraft) -> str:
    """Return the task file as YAML."""
    lines = [
        "# What the dataset is; written by `init`, yours to change.",
        f"name: {_scalar(draft.name)}",
        f"folder: {_scalar(draft.folder)}",
    ]
    if draft.modality is not None:
        lines.append(f"modality: {_scalar(draft.modality)}")
    lines += [
        "# One name per channel, in the order of the files; the name CT clips and scales as CT, others are z-scored.",
        f"channels: [{', '.join(map(_scalar, draft.channels))}]",
    ]
    if draft.normalization is None:
        schemes = ", ".join(["zscore"] * len(draft.channels))
        lines.append(f"# normalization: [{schemes}]  # or say it: ct, zscore, rescale_to_0_1, rgb_to_0_1, nonorm")
    else:
        lines.append(f"normalization: [{', '.join(draft.normalization)}]")
    return "\n".join([*lines, *_label_lines(draft.values), *_group_lines(draft.group_pattern)]) + "\n"


def _label_lines(values: Sequence[int]) -> list[str]:
    """Return the lines on labels, which are stated with their values in the files."""
    remap = consecutive(values)
    ordered = sorted({0, *values}, key=lambda value: remap.get(value, value))
    own = [value for value in ordered if value != 0]
    lines = [
        "# Rename the labels. Voxels that nobody annotated are called ignore, which has to be the largest value.",
        "labels:",
        *(f"  {label_name(value)}: {value}" for value in ordered),
    ]
    if remap:
        renumbered = ", ".join(f"{old}: {new}" for old, new in remap.items())
        lines += [
            "# Value in the files -> value to use, as labels have to count up from 0; above are those in the files.",
            f"remap: {{{renumbered}}}",
        ]
    if 2 <= len(own) <= len(NESTED):
        regions = ", ".join(f"{name}: {own[depth:]}" for depth, name in enumerate(NESTED[: len(own)]))
        lines += [
            "# Overlapping regions to learn instead of the labels, each with its values, such as",
            f"# regions: {{{regions}}}",
        ]
    return lines


def _group_lines(pattern: str | None) -> list[str]:
    if pattern is None:
        return []
    return [
        "# Several cases look like one patient's. Keep them in one fold, on the command line:",
        f"#   split.kind=group 'split.group_pattern={pattern}'",
    ]


def _scalar(text: str) -> str:
    """Return text as one YAML scalar that the configuration reads back as it is, `${` and numbers too."""
    escaped = escape_references(text)
    if PLAIN.fullmatch(escaped) and yaml.safe_load(escaped) == escaped:
        return escaped
    return yaml.safe_dump(escaped, default_style='"', allow_unicode=True, width=2**16).strip()
