"""The whole table of a selection, as `selection/<name>.yaml` holds it."""

from dataclasses import dataclass, field

from segfw.core.cross_fitting import CrossFitted
from segfw.core.postprocessing import Step
from segfw.core.selection import Score


@dataclass(frozen=True)
class Postprocessed:
    """The steps found for the winner, and its mean Dice, over labels and of each, without and with them.

    On the same cases that the steps were found on, which makes the gain look better than it is. `reason`: why nothing
    was examined, else empty.
    """

    steps: tuple[Step, ...] = ()
    dice_before: float | None = None
    dice_after: float | None = None
    per_label_before: dict[str, float] = field(default_factory=dict)
    per_label_after: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class SelectionRecord:
    """What was chosen, by which numbers, and how sure that is.

    `selection_score`: the winner's, which chose it, without postprocessing; `cross_fitted`: what the same way of
    choosing, postprocessing included, reaches on cases that it has not seen. `same_cases`, `num_common`: see
    `Selection`. `not_formed`: ensembles that do not compete, and why. `intervals`: how those of the scores were made.
    `try_again`: ensembles that could not be scored this time, since something was missing.
    """

    winner: str
    selection_score: float
    cross_fitted: CrossFitted
    postprocessing: Postprocessed
    same_cases: bool
    num_common: int
    scores: tuple[Score, ...]
    not_formed: dict[str, str]
    intervals: str
    try_again: tuple[str, ...] = ()

    @property
    def best(self) -> Score:
        """The winner's score."""
        return next(score for score in self.scores if score.name == self.winner)
