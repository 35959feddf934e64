"""The whole table of a selection, as `selection/<name>.yaml` holds it."""

from dataclasses import dataclass

from segfw.core.scoring.cross_fitting import CrossFitted
from segfw.core.scoring.postprocessing import Step
from segfw.core.scoring.postprocessing_choice import Choice
from segfw.core.scoring.selection import Score


@dataclass(frozen=True)
class SelectionRecord:
    """What was chosen, by which numbers, and how sure that is.

    `selection_score`: the winner's, which chose it, without postprocessing; `cross_fitted`: what the same way of
    choosing, postprocessing included, reaches on cases that it has not seen. `same_cases`, `num_common`: see
    `Selection`. `not_formed`: ensembles that do not compete, and why. `intervals`: how those of the scores were made.
    `postprocessing`: what was examined on the winner, None where its cases are no longer in the dataset.
    `try_again`: ensembles that could not be scored this time, since something was missing.
    """

    winner: str
    selection_score: float
    cross_fitted: CrossFitted
    postprocessing: Choice | None
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

    @property
    def steps(self) -> tuple[Step, ...]:
        """The winner's postprocessing."""
        return self.postprocessing.steps if self.postprocessing else ()
