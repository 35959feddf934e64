"""Which postprocessing is worth it, by the mean Dice of cross-validation.

First, as nnU-Net does (Isensee et al. 2021): keeping the largest component of all foreground together, if the mean over
classes rises and no class falls; then that of each class, in declared order, if the class itself rises (`strict`: and
no other falls). Beyond it, per class and only if the class rises and no other falls: filling cavities, then removing
small components. Every figure is a mean over cases, as in `metrics`: one that is undefined neither rises nor falls.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segfw.core.labels import LabelKey, LabelSet
from segfw.core.scoring.metrics import CaseMetrics, mean_over_labels, summarize
from segfw.core.scoring.postprocessing import Step
from segfw.core.settings.schema import PostprocessingSettings
from segfw.core.types import FloatArray

FOREGROUND = "foreground"
MINIMUM_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of a class's secondary components that the candidates for the least volume remove.

Between two volumes that occur, the minimum makes no difference, so candidates are spread over components, not over
volumes; few, because each is one more chance to fit the noise of the cases at hand. The largest component of a case is
left out: it is what is looked for, or else wrong in a way that volume does not tell.
"""
_DIGITS = 3

Scorer = Callable[[tuple[Step, ...]], Sequence[CaseMetrics]]
"""Scores every case under some steps; always the same cases, in the same order."""
VolumesOf = Callable[[tuple[Step, ...]], Mapping[str, Sequence[float] | FloatArray]]
"""The secondary volumes of all cases together under some steps, by label; see `postprocessing.secondary_volumes`."""


@dataclass(frozen=True)
class MeanDice:
    """Mean Dice over the cases, per label or region and of these; NaN where it is undefined."""

    foreground: float
    labels: dict[str, float]


@dataclass(frozen=True)
class Examined:
    """A step that was tried on top of those accepted before it.

    `label`: of the class, or "foreground" for all together; `foreground`: mean Dice (before, after); `labels`: likewise
    of the labels that it changed; `why`: what decided.
    """

    step: Step
    label: str
    accepted: bool
    why: str
    foreground: tuple[float, float]
    labels: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Choice:
    """The steps that were accepted, the mean Dice without and with them, and all that was tried, in order."""

    steps: tuple[Step, ...]
    before: MeanDice
    after: MeanDice
    examined: tuple[Examined, ...]


@dataclass(frozen=True)
class _Trial:
    """Cases under some steps, and their means, which are taken once however many labels are judged by them."""

    cases: tuple[CaseMetrics, ...]
    means: MeanDice

    @classmethod
    def of(cls, cases: Sequence[CaseMetrics]) -> "_Trial":
        """Take the means of `cases`."""
        return cls(tuple(cases), _means(cases))

    def only(self, name: str, others: "_Trial") -> "_Trial":
        """Return the `others` with the counts of one label from here."""
        labels = {**others.means.labels, name: self.means.labels[name]}
        cases = tuple(
            replace(case, labels={**case.labels, name: here.labels[name]})
            for case, here in zip(others.cases, self.cases, strict=True)
        )
        return _Trial(cases, MeanDice(mean_over_labels(labels.values()), labels))


@dataclass(frozen=True)
class _State:
    """The steps accepted so far, the cases under them, and what was tried."""

    steps: tuple[Step, ...]
    present: _Trial
    examined: tuple[Examined, ...] = ()


@dataclass(frozen=True)
class _Rule:
    """When a step is accepted: the mean of `label` rises and, with `strict`, no label falls."""

    label: str
    strict: bool


def determine(labels: LabelSet, score: Scorer, volumes: VolumesOf, settings: PostprocessingSettings) -> Choice:
    """Choose postprocessing; a pure function of what `score` and `volumes` answer.

    Where no two labels share a value, a step on one leaves the scores of the others alone, and all labels are examined
    by one call of `score`: about nine calls, however many labels there are. With overlapping regions each candidate
    takes one. Filling begins with the regions of the fewest values, whose cavities the regions around them would take.
    A region that holds the background has no step of its own: what is removed would stay in it.
    """
    start = _State((), _Trial.of(score(())))
    state = _examine_joint(start, labels, score)
    classes = labels.removable
    if len(classes) > 1:
        largest = [(_Rule(name, settings.strict), Step("keep_largest", key)) for name, key in classes]
        state = _examine(state, largest, labels, score)
    if settings.fill_holes:
        inner_first = sorted(classes, key=lambda entry: len(entry[1]))
        fills = _fill_values(labels)
        holes = [(_Rule(name, True), Step("fill_holes", key, fill=fills[name])) for name, key in inner_first]
        state = _examine(state, holes, labels, score)
    if settings.min_size:
        for together in [classes] if _disjoint(labels) else [(entry,) for entry in classes]:
            state = _examine_minima(state, together, labels, score, volumes(state.steps))
    return Choice(state.steps, start.present.means, state.present.means, state.examined)


def minimum_candidates(volumes: Sequence[float] | FloatArray) -> tuple[float, ...]:
    """Return the least volumes to try, ascending, each once: just above the volumes at `MINIMUM_SHARES`.

    Rounded up to three digits, so that the figure that a person reads is the one that is used.
    """
    found = np.asarray(volumes, np.float64)
    if found.size == 0:
        return ()
    at_shares = np.quantile(found, MINIMUM_SHARES, method="inverted_cdf")
    return tuple(sorted({_round_above(float(volume)) for volume in at_shares}))


def _examine_joint(state: _State, labels: LabelSet, score: Scorer) -> _State:
    step = Step("keep_largest", labels.foreground_values)
    return _judge(state, _Rule(FOREGROUND, True), step, _Trial.of(score((*state.steps, step))))


def _examine(state: _State, candidates: Sequence[tuple[_Rule, Step]], labels: LabelSet, score: Scorer) -> _State:
    """Judge one step after the other, each on top of those accepted."""
    if not _disjoint(labels):
        for rule, step in candidates:
            state = _judge(state, rule, step, _Trial.of(score((*state.steps, step))))
        return state
    under_all = _Trial.of(score((*state.steps, *(step for _, step in candidates))))
    for rule, step in candidates:
        state = _judge(state, rule, step, under_all.only(rule.label, state.present))
    return state


def _examine_minima(
    state: _State,
    classes: Sequence[tuple[str, LabelKey]],
    labels: LabelSet,
    score: Scorer,
    volumes: Mapping[str, Sequence[float] | FloatArray],
) -> _State:
    """Judge the candidates for the least volume of some classes; each class gets its best one, if any passes."""
    minima = {name: minimum_candidates(volumes[name]) for name, _ in classes}
    trials: dict[str, list[tuple[Step, _Trial]]] = {name: [] for name in minima}
    for turn in range(max(map(len, minima.values()))):
        steps = {
            name: Step("remove_small", key, minimum_mm3=minima[name][turn])
            for name, key in classes
            if turn < len(minima[name])
        }
        under = _Trial.of(score((*state.steps, *steps.values())))
        for name, step in steps.items():
            trials[name].append((step, under))
    for name, of_one in trials.items():
        state = _take_best(state, name, of_one, _disjoint(labels))
    return state


def _take_best(state: _State, name: str, trials: Sequence[tuple[Step, _Trial]], disjoint: bool) -> _State:
    """Judge a class's candidates on top of what is accepted, and take the first of the highest mean that passes."""
    judged = [
        _judge(state, _Rule(name, True), step, under.only(name, state.present) if disjoint else under)
        for step, under in trials
    ]
    passed = [trial for trial in judged if trial.examined[-1].accepted]
    best = max(passed, key=lambda trial: trial.present.means.labels[name]) if passed else state
    records = [
        replace(trial.examined[-1], accepted=False, why="another minimum raises it at least as much")
        if trial in passed and trial is not best
        else trial.examined[-1]
        for trial in judged
    ]
    return _State(best.steps, best.present, (*state.examined, *records))


def _judge(state: _State, rule: _Rule, step: Step, trial: _Trial) -> _State:
    """Return the state after a step that makes `trial` of the present cases was examined."""
    before, after = state.present.means, trial.means
    own = (before.foreground, after.foreground)
    if rule.label != FOREGROUND:
        own = before.labels[rule.label], after.labels[rule.label]
    pairs = {name: (mean, after.labels[name]) for name, mean in before.labels.items()}
    fallen = [name for name, (was, now) in pairs.items() if now < was]
    rises = own[1] > own[0]
    accepted = rises and not (rule.strict and fallen)
    why = "its mean rises" if rises else "its mean does not rise"
    if rises and fallen:
        why += f", {', '.join(fallen)} falls" if len(fallen) == 1 else f", {', '.join(fallen)} fall"
    changed = {name: pair for name, pair in pairs.items() if not _same(*pair)}
    record = Examined(step, rule.label, accepted, why, (before.foreground, after.foreground), changed)
    examined = (*state.examined, record)
    return _State((*state.steps, step), trial, examined) if accepted else replace(state, examined=examined)


def _means(cases: Sequence[CaseMetrics]) -> MeanDice:
    summary = summarize(cases)
    return MeanDice(summary.foreground_mean["dice"], {name: row["dice"] for name, row in summary.mean.items()})


def _fill_values(labels: LabelSet) -> dict[str, int]:
    """Return what cavities of each label or region are filled with: its value, or the one that is painted for it."""
    painted = labels.regions_class_order or ()
    if not labels.has_regions:
        return {name: key[0] for name, key in labels.foreground}
    return {
        name: value if value in key else key[0] for (name, key), value in zip(labels.foreground, painted, strict=True)
    }


def _disjoint(labels: LabelSet) -> bool:
    """Whether a step on one class leaves the others alone, of which none may take what becomes background."""
    values = [value for _, key in labels.foreground for value in key]
    return len(set(values)) == len(values) and 0 not in values


def _same(was: float, now: float) -> bool:
    return was == now or (math.isnan(was) and math.isnan(now))


def _round_above(volume: float) -> float:
    """Return the next number above of few digits."""
    decimals = _DIGITS - 1 - math.floor(math.log10(volume))
    rounded = round(volume, decimals)
    return rounded if rounded > volume else round(rounded + 10.0**-decimals, decimals)
