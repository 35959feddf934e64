"""The report: one self-contained page about a dataset, its plan, its trainings and what was selected.

The page shows what its content holds and says what is not there yet; it computes nothing but means for display.
Each part is a module of its own beside this one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Fingerprint, Plan
from segfw.tracking.comparison_section import NamedResult, comparison_section
from segfw.tracking.confusion_figure import ConfusionOf, confusion_section
from segfw.tracking.fingerprint_section import dataset_section, fingerprint_section
from segfw.tracking.network_table import NetworkRow
from segfw.tracking.numbers import NOTHING
from segfw.tracking.page import heading, navigation, page, paragraph, resource, section, tiles
from segfw.tracking.plan_section import networks_part, plan_section
from segfw.tracking.runs_table import RunCost, runs_section
from segfw.tracking.selection_table import CandidateScore, selection_table
from segfw.tracking.summary import Choice, summary
from segfw.tracking.training_section import FoldCurves, training_section
from segfw.tracking.validation_section import ValidationScores, validation_section
from segfw.tracking.viewer import ViewedCase, viewer

__all__ = ["FoldCurves", "ReportContent", "ValidationScores", "build_report"]

MOST_NAMED = 20


@dataclass(frozen=True)
class ReportContent:
    """Everything the page tells, of the name `run_name` but for `named`. What has not been made yet is None or empty.

    `num_parameters`: configuration -> parameters of its network. `networks`: title -> configuration, as it was built,
    of each network that was trained, or else will be. `compared`: what every network would cost. `reasons`: see
    `plan_reasons`; `plan_notes`: sentences on how the plan came to be; `explained`: the configuration whose
    reasons are open, None: the plan's first. `choice`: what was selected, `selection_notes`:
    sentences about it; `winner_scores`: of its cases. `viewed`: chosen cases with their pictures. `named`: every name
    where there are several. `versions`: what made this page -> version.
    """

    dataset_name: str
    run_name: str
    num_cases: int
    channel_names: tuple[str, ...]
    labels: LabelSet
    fingerprint: Fingerprint | None = None
    plan: Plan | None = None
    num_parameters: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[str, Configuration] = field(default_factory=dict)
    compared: tuple[NetworkRow, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    plan_notes: tuple[str, ...] = ()
    explained: str | None = None
    curves: tuple[FoldCurves, ...] = ()
    runs: tuple[RunCost, ...] = ()
    validations: tuple[ValidationScores, ...] = ()
    tolerance: str = ""
    candidates: tuple[CandidateScore, ...] = ()
    winner: str | None = None
    choice: Choice | None = None
    winner_scores: ValidationScores | None = None
    same_cases: bool = True
    selection_notes: tuple[str, ...] = ()
    viewed: tuple[ViewedCase, ...] = ()
    viewer_notes: tuple[str, ...] = ()
    confusion: ConfusionOf | None = None
    named: tuple[NamedResult, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def build_report(content: ReportContent) -> str:
    """Return the page as HTML text. The same content gives the same text."""
    parts: tuple[tuple[str, str, Callable[[ReportContent], str]], ...] = (
        ("result", "Result", _result),
        ("cases", "Cases", lambda c: viewer(c.viewed, c.labels, c.viewer_notes)),
        ("validation", "Validation", lambda c: validation_section(c.validations, c.winner, c.tolerance)),
        ("confusion", "Confusion", lambda c: confusion_section(c.confusion, c.labels)),
        (
            "selection",
            "Selection",
            lambda c: selection_table(c.candidates, c.winner, c.same_cases, c.selection_notes),
        ),
        *((("comparison", "Other names", _comparison),) if content.named else ()),
        ("training", "Training", lambda c: training_section(c.curves, c.winner)),
        ("plan", "Plan", _plan),
        ("fingerprint", "Fingerprint", lambda c: fingerprint_section(c.fingerprint, c.plan, c.channel_names)),
        ("dataset", "Dataset", lambda c: tiles(_key_facts(c)) + dataset_section(c.labels, c.channel_names)),
        ("runs", "Runs", lambda c: runs_section(c.runs, c.versions)),
    )
    header = (
        heading(content.dataset_name, 1)
        + paragraph(f"Segmentation report of the runs named {content.run_name}", quiet=True)
        + navigation([(anchor, title) for anchor, title, _ in parts])
    )
    sections = [section(anchor, title, build(content)) for anchor, title, build in parts]
    scripts = (resource("viewer.js"),) if content.viewed else ()
    return page(f"{content.dataset_name}: {content.run_name}", header, sections, _footer(content), scripts)


def _result(content: ReportContent) -> str:
    scores = content.winner_scores or next(iter(content.validations), None)
    return summary(content.run_name, content.choice, scores, content.num_cases)


def _comparison(content: ReportContent) -> str:
    return comparison_section(content.named, content.run_name)


def _key_facts(content: ReportContent) -> list[tuple[str, str]]:
    return [
        ("training cases", str(content.num_cases)),
        ("regions" if content.labels.has_regions else "foreground labels", str(len(content.labels.foreground))),
        ("configurations planned", str(len(content.plan.configurations)) if content.plan else NOTHING),
        ("folds finished", str(len(content.curves))),
    ]


def _plan(content: ReportContent) -> str:
    told = plan_section(content.plan, content.num_parameters, content.reasons, content.plan_notes, content.explained)
    return told + networks_part(content.networks, content.compared, len(content.channel_names), content.labels)


def _footer(content: ReportContent) -> str:
    """Say whose images the page holds, so that nobody passes them on by accident, and what made it."""
    names = [case.name for case in content.viewed]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    warning = (
        f"This file holds images and segmentations of these cases: {', '.join(names[:MOST_NAMED])}{more}. "
        "Treat it like the images themselves."
        if names
        else "This file holds no images."
    )
    made = " · ".join(f"{name} {version}" for name, version in content.versions.items())
    return paragraph(warning) + paragraph(made)
