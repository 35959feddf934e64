"""The selected folds as one model: models/<name>/."""

import logging
from dataclasses import replace

from segfw.core.scoring.selection_record import SelectionRecord
from segfw.data.augmentation import mirror_axes
from segfw.inference.bundle import Bundle, Member, load_provenance, save_bundle
from segfw.stages.job import ALGORITHMS, Job
from segfw.stages.models.provenance import make_provenance
from segfw.stages.trainings.cascade import joint_plan
from segfw.stages.trainings.runs import FinishedFold
from segfw.training.checkpoints import network_weights
from segfw.training.run import CHECKPOINTS, LAST
from segfw.workspace import digest

log = logging.getLogger(__name__)


def package(job: Job, members: list[FinishedFold], deciding: tuple[str, ...], record: SelectionRecord | None) -> bool:
    """Write models/<name>/ from the members' final weights; False where the one on disk was made from the same.

    `deciding`: the configurations that are averaged; the others feed them. `record`: of the selection that they won,
    None without one. Raises `UsageError` where `inference.folds` names one that the members lack.
    """
    folder = job.workspace.model(job.settings.name)
    steps, reached = (record.steps, record.best) if record else ((), None)
    asked = job.settings.inference  # of these keys, now; of the others, what the members were validated with
    folds = asked.folds
    inputs = {
        "winner": digest([deciding, [fold.done for fold in members]]),
        "postprocessing": digest([steps, asked.postprocessing]),
        "algorithm": ALGORITHMS["select"],
        **({} if folds is None else {"folds": digest(folds)}),
    }
    there = load_provenance(folder)
    if there is not None and there.made_from == inputs:
        return False
    inference = replace(  # memory is that of the machine at hand
        members[0].run.inference, memory_gb=None, postprocessing=asked.postprocessing, folds=folds
    )
    bundle = Bundle(
        plan=joint_plan([member.run for member in members]),
        members=tuple(_member(member) for member in members),
        mirror_axes=shared_mirror_axes(members),
        inference=inference,
        provenance=make_provenance(job, members, reached, inputs),
        postprocessing=steps,
        deciding=deciding,
    )
    save_bundle(folder, bundle)
    return True


def shared_mirror_axes(members: list[FinishedFold]) -> tuple[int, ...]:
    """Return the axes along which every member that sees them was trained with mirroring.

    A window of two axes has no third one, which then is the others' to decide. A rule of the data can find different
    axes for each member; one that a configuration was validated with and another lacks is said.
    """
    of_members = [(len(member.run.configuration.patch_size), _axes(member)) for member in members]
    seen = range(max(ndim for ndim, _ in of_members))
    shared = tuple(axis for axis in seen if all(axis in axes for ndim, axes in of_members if axis < ndim))
    lost = sorted({axis for _, axes in of_members for axis in axes} - set(shared))
    if lost and members[0].run.inference.mirror:
        log.warning(
            "select: the model does not mirror along the axes %s of the window, along which only some of its members "
            "were trained and validated with mirroring",
            lost,
        )
    return shared


def _axes(member: FinishedFold) -> tuple[int, ...]:
    return mirror_axes(member.run.resolved_augmentation, len(member.run.configuration.patch_size))


def _member(fold: FinishedFold) -> Member:
    weights = network_weights(fold.folder / CHECKPOINTS / LAST)
    run, network = fold.run, fold.run.network
    return Member(run.configuration_name, run.fold, network.name, weights, network.target, network.arguments)
