"""What competes: every configuration with scored folds, and the ensembles of them that one model can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from segfw.core.errors import ArtefactError
from segfw.core.scoring.ensembles import EnsembleChoice, ensembles_of, name_of
from segfw.core.scoring.selection import Key
from segfw.core.support.conversion import changed_keys, to_plain
from segfw.stages.trainings.cascade import with_first_stages
from segfw.stages.trainings.runs import FinishedFold
from segfw.training.run import validated_with

ORDER = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
"""nnU-Net's order of configurations, in which the first wins a tie; others come after them, by name."""


@dataclass(frozen=True)
class Contestant:
    """A candidate and its finished folds, of each member (planner/network/configuration) in its order."""

    name: str
    folds: dict[str, list[FinishedFold]]

    @property
    def members(self) -> tuple[str, ...]:
        """The names of what is averaged; its own for a single configuration."""
        return tuple(self.folds)

    @property
    def all_folds(self) -> list[FinishedFold]:
        """The folds of every member."""
        return [fold for folds in self.folds.values() for fold in folds]

    @property
    def keys(self) -> list[Key]:
        """The folds and cases that every member has validated, in the order of the first."""
        of_each = [list(_keys(folds)) for folds in self.folds.values()]
        common = set(of_each[0]).intersection(*of_each[1:])
        return [key for key in of_each[0] if key in common]


def single_contestants(scored: Sequence[FinishedFold]) -> list[Contestant]:
    """Return one contestant for each configuration of each planner and network, these by name, in `ORDER`."""
    names = sorted({fold.candidate for fold in scored}, key=_place)
    return [Contestant(name, {name: [fold for fold in scored if fold.candidate == name]}) for name in names]


def ensemble_contestants(
    singles: Sequence[Contestant], folds: list[FinishedFold], choice: EnsembleChoice
) -> tuple[list[Contestant], dict[str, str]]:
    """Return the ensembles that can be formed, and of the others the name and why not.

    `folds`: all that are finished, among which the first stages of cascades are found.
    """
    known = {single.name: single for single in singles}
    formed, not_formed = [], {}
    for members in ensembles_of(list(known), choice):
        name = name_of(members)
        unknown = [member for member in members if member not in known]
        if unknown:
            not_formed[name] = f"no fold of {', '.join(unknown)} is finished and validated"
            continue
        contestant = Contestant(name, {member: known[member].folds[member] for member in members})
        obstacle = _obstacle(contestant, folds)
        if obstacle:
            not_formed[name] = obstacle
        else:
            formed.append(contestant)
    return formed, not_formed


def model_members(contestant: Contestant, folds: list[FinishedFold]) -> list[FinishedFold]:
    """Return the folds that a model of the contestant holds: its own, and those of the stages that feed them."""
    together: dict[str, FinishedFold] = {}
    for own in contestant.folds.values():
        together |= {str(fold.folder): fold for fold in with_first_stages(own, folds)}
    return list(together.values())


def _place(candidate: str) -> tuple[str, int, str]:
    above, _, configuration = candidate.rpartition("/")
    return above, ORDER.index(configuration) if configuration in ORDER else len(ORDER), configuration


def _obstacle(contestant: Contestant, folds: list[FinishedFold]) -> str:
    """Say why no model can hold the ensemble, empty where one can."""
    try:
        members = model_members(contestant, folds)
    except ArtefactError as error:
        return str(error)
    by_name = {fold.candidate: fold for fold in members}
    for (one, first), (other, second) in combinations(by_name.items(), 2):
        if first.run.configuration_name == second.run.configuration_name:
            return f"a model holds one network of a configuration, and {one} and {other} are two"
        plans = [to_plain(replace(fold.run.plan, configurations={})) for fold in (first, second)]
        if changed := changed_keys(*plans):
            return f"a model has one plan, and those of {one} and {other} differ in {', '.join(changed)}"
        validated = [validated_with(fold.run.inference) for fold in (first, second)]
        if changed := changed_keys(*validated):
            return f"{one} and {other} were validated with different inference settings: {', '.join(changed)}"
    if not contestant.keys:
        return "no fold of all its members is finished for the same cases"
    return ""


def _keys(folds: Sequence[FinishedFold]) -> Mapping[Key, None]:
    return {
        (fold.run.fold, case.case): None
        for fold in folds
        if isinstance(fold.run.fold, int) and fold.scores
        for case in fold.scores.cases
    }
