"""What choosing is worth on cases that had no part in it.

    folds      0      1      2
    chosen on  1, 2   0, 2   0, 1      the candidate and its postprocessing
    scored on  0      1      2         and the mean over these cases is the cross-fitted score

The best of several scores is too good an estimate of the winner's (Cawley, Talbot: On Over-fitting in Model Selection
and Subsequent Selection Bias in Performance Evaluation, JMLR 2010); this one is not, of the way of choosing. The
networks themselves were trained on the other folds, here as everywhere in cross-validation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from segfw.core.scoring.metrics import CaseMetrics, summarize
from segfw.core.scoring.postprocessing import Step
from segfw.core.scoring.selection import Candidate, common_keys, mean_dice, select

Steps = tuple[Step, ...]


@dataclass(frozen=True)
class LeftOut:
    """What was chosen without a fold, and the mean foreground Dice that it reaches there."""

    fold: int
    winner: str
    postprocessing: Steps
    num_cases: int
    dice: float


@dataclass(frozen=True)
class CrossFitted:
    """The cross-fitted score, over all cases, and what each fold's absence chose.

    `dice` is None where it cannot be known, for the `reason` given.
    """

    dice: float | None
    dice_per_label: dict[str, float] = field(default_factory=dict)
    num_cases: int = 0
    left_out: tuple[LeftOut, ...] = ()
    reason: str = ""


def cross_fit(
    candidates: Sequence[Candidate],
    determine: Callable[[Candidate], Steps],
    rescored: Callable[[Candidate, Steps], Sequence[CaseMetrics]],
) -> CrossFitted:
    """Choose on all folds but one, score on that one, for each; on the cases that every candidate has.

    `determine(candidate)` finds the postprocessing of a winner on the cases it is given with; `rescored(candidate,
    steps)` returns the metrics of the candidate's cases after those steps.
    """
    common = common_keys(candidates)
    folds = sorted({fold for fold, _ in common})
    if len(folds) < 2:
        return CrossFitted(None, reason=_too_few(candidates, folds))
    left_out: list[LeftOut] = []
    outcomes: list[CaseMetrics] = []
    for fold in folds:
        inside = frozenset(key for key in common if key[0] == fold)
        rest = [candidate.only(common - inside) for candidate in candidates]
        winner = next(i for i, c in enumerate(rest) if c.name == select(rest).winner)
        steps = determine(rest[winner])
        cases = rescored(candidates[winner].only(inside), steps)
        outcomes += cases
        left_out.append(LeftOut(fold, rest[winner].name, steps, len(cases), mean_dice(cases)))
    summary = summarize(outcomes)
    per_label = {name: row["dice"] for name, row in summary.mean.items()}
    num_cases = len({case.case for case in outcomes})
    return CrossFitted(summary.foreground_mean["dice"], per_label, num_cases, tuple(left_out))


def _too_few(candidates: Sequence[Candidate], folds: Sequence[int]) -> str:
    told = "; ".join(f"{c.name}: {', '.join(map(str, c.folds)) or 'none'}" for c in candidates)
    finished = f" ({told})" if len({candidate.folds for candidate in candidates}) > 1 else ""
    have = f"fold {folds[0]} alone is" if folds else "no fold is"
    return f"it takes two folds at least, and {have} finished for every candidate{finished}"
