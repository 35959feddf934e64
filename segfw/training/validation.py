"""Score a trained fold on its whole validation cases: predict, restore, write, compare with the reference.

Where a cascade goes on from here, the cases are written on the next stage's grid as well.
Scores are kept as they arise, with what they were made from: an interrupted validation goes on where it
stopped, one of other weights begins anew.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from segfw.core.scoring.metrics import (
    CaseMetrics,
    Summary,
    case_metrics,
    summarize,
    summary_to_csv,
    summary_to_json,
)
from segfw.core.support.conversion import to_plain
from segfw.core.support.files import sha256, write_text
from segfw.core.support.ranks import ALONE, Ranks
from segfw.core.support.words import counted, in_words, readable_size
from segfw.core.types import IntArray, Volume
from segfw.data.augmentation import mirror_axes
from segfw.data.kept_logits import FOLDER, logits_path, save_logits
from segfw.data.next_stage import commit_segmentations, has_segmentation, save_segmentation
from segfw.data.store import Store
from segfw.inference.case_memory import CaseMemory, open_memory
from segfw.inference.restoring import restore_segmentation, segment_for_next_stage
from segfw.inference.sliding_window import move, predict_logits
from segfw.inference.uncertainty import sample_logits
from segfw.nn.build import cut, has_dropout
from segfw.training.cascade import fed, open_store, whole_case
from segfw.training.run import ENDING, METRICS_CSV, METRICS_JSON, NEXT_STAGE, VALIDATION, FoldRun, validated_with
from segfw.training.scored_cases import add_scored, begin_scored, load_scored

log = logging.getLogger(__name__)

_SCORED = ".scored*.json"
LEAST_SECONDS = 1.0
"""Between two lines on cases, of which there may be thousands; `metrics.csv` has each."""


@dataclass(frozen=True)
class FoldIO:
    """How a fold reaches files of raw geometry; the caller knows formats and folders.

    `read_reference(case)` returns the label map as it was annotated; `write_segmentation(case, array (Z, Y, X), path)`
    writes a segmentation on that case's grid. `check_ownership()` raises when another command has taken the run over
    meanwhile; it is called before anything is replaced. `read_case(case, path)`, where it is given, returns the image's
    first channel, the label map and the segmentation at `path` of a case, each (Z, Y, X) on its own grid.
    """

    read_reference: Callable[[str], Volume]
    write_segmentation: Callable[[str, IntArray, Path], None]
    check_ownership: Callable[[], None] = lambda: None
    read_case: Callable[[str, Path], tuple[NDArray[np.floating], IntArray, IntArray]] | None = None


@dataclass(frozen=True)
class Share:
    """Which of the whole cases are this process's: every `ranks.world_size`-th. `wait` returns when all are done.

    `tell` is told how many of them are done, of how many, and the seconds left (None before one was measured).
    """

    ranks: Ranks = ALONE
    wait: Callable[[], None] = lambda: None
    tell: Callable[[int, int, float | None], None] = lambda done, total, left: None

    def of(self, cases: Sequence[str]) -> Sequence[str]:
        """Return the cases of this rank."""
        return cases[self.ranks.rank :: self.ranks.world_size]

    @property
    def scored_file(self) -> str:
        """Where this rank keeps its scores as they arise."""
        return f".scored-{self.ranks.rank}.json" if self.ranks.rank else ".scored.json"


def validate_fold(
    run: FoldRun, network: nn.Module, folder: Path, io: FoldIO, checkpoint: Path, share: Share | None = None
) -> Summary | None:
    """Segment and score every validation case of `run` under `folder`/validation; None if the fold has none.

    With `run.next_stage`, segmentations on its grid lie under `folder`/next_stage (see `segfw.data.next_stage`).

    `network` holds the weights of `checkpoint`; it is used on its device while memory suffices there, in evaluation
    mode, and left there in the mode it had. The metrics files are written when all cases are done. With a `share` each
    rank does its own cases; rank 0 writes the metrics files and has the summary.
    """
    if not run.val_cases:
        return None
    share = share or Share()
    made_from = made_from_of(run, sha256(checkpoint))
    scored = _load_scored(run, folder, made_from)
    with _evaluated(network, run.inference.depth):
        _score_waiting(run, network, folder, io, made_from, scored, share)
    share.wait()
    if not share.ranks.leads:
        return None
    if share.ranks.together:
        scored = _load_scored(run, folder, made_from)
    io.check_ownership()
    if run.next_stage is not None:
        commit_segmentations(folder / NEXT_STAGE, run.val_cases, made_from)
    summary = summarize([scored[case] for case in run.val_cases])
    _save_summary(run, folder / VALIDATION, summary)
    return summary


@contextmanager
def _evaluated(network: nn.Module, depth: int | None) -> Iterator[None]:
    """Have a network in evaluation mode, cut to `depth`, for the block; then where and as it was, and whole."""
    training, device = network.training, next(network.parameters()).device
    network.eval()
    cut(network, depth)
    try:
        yield
    finally:
        move(network, device)
        network.train(training)
        cut(network, None)


def _score_waiting(
    run: FoldRun,
    network: nn.Module,
    folder: Path,
    io: FoldIO,
    made_from: dict[str, Any],
    scored: dict[str, CaseMetrics],
    share: Share,
) -> None:
    """Add this rank's other cases to those that are `scored` already, and keep each at once."""
    store, memory = open_store(run), open_memory_of(run, network)
    own = share.of(run.val_cases)
    waiting = [case for case in own if case not in scored]
    scored_file = folder / VALIDATION / share.scored_file
    if waiting:
        begin_scored(scored_file, made_from, scored.values())
    if waiting and len(waiting) < len(own):
        log.info("validation: %d of %d cases are scored already", len(own) - len(waiting), len(own))
    share.tell(len(own) - len(waiting), len(own), None)
    begun = told = time.monotonic()
    for number, case in enumerate(waiting, 1):
        start = time.monotonic()
        scored[case] = _validate_case(run, network, store, case, folder, io, made_from["weights"], memory)
        add_scored(scored_file, made_from, scored[case])
        now = time.monotonic()
        left = (now - begun) / number * (len(waiting) - number)
        done = len(own) - len(waiting) + number
        share.tell(done, len(own), left)
        if now - told >= LEAST_SECONDS or number in (1, len(waiting)):
            told = now
            log.info(
                "validation %d/%d  %s  Dice %s  %.1f s  left %s",
                *(done, len(own), case, _dice_text(scored[case]), now - start, in_words(left)),
            )


def _save_summary(run: FoldRun, target: Path, summary: Summary) -> None:
    write_text(target / METRICS_CSV, summary_to_csv(summary))
    write_text(target / METRICS_JSON, summary_to_json(summary))
    mean = summary.foreground_mean["dice"]
    log.info("validation: mean foreground Dice %.4f over %s", mean, counted(len(run.val_cases), "case"))
    if run.keep_logits:
        size = sum(path.stat().st_size for path in (target / FOLDER).glob("*"))
        log.info("validation: kept logits for ensembles, %s (selection.keep_logits)", readable_size(size))


def made_from_of(run: FoldRun, weights: str) -> dict[str, Any]:
    """Return what the segmentations of a fold's validation are made from; `weights`: SHA-256 of its checkpoint."""
    inference = validated_with(run.inference)
    return {"weights": weights, "inference": inference, "next_stage": to_plain(run.next_stage)}


def logits_hash(run: FoldRun, weights: str) -> str:
    """Return the hash by which the logits of a run's validation are known; `weights`: SHA-256 of its checkpoint."""
    made_from = {"weights": weights, "inference": validated_with(run.inference)}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def case_logits(run: FoldRun, network: nn.Module, store: Store, case: str, memory: CaseMemory) -> Tensor:
    """Return float16 logits `(heads, d0, d1, d2)` of a whole case, of samples' mean where the run validates that.

    `network` is used on its device, in evaluation mode and at the depth to which it is cut.
    """
    configuration, labels = run.configuration, run.plan.labels
    image = whole_case(store, case)
    axes = mirror_axes(run.resolved_augmentation, len(configuration.patch_size))

    means = memory.means[run.configuration_name]

    def compute(one: nn.Module) -> Tensor:
        patch_size, heads = configuration.patch_size, labels.num_heads
        return predict_logits(fed(one, run), image, patch_size, run.inference, axes, heads, means)

    if run.inference.uncertainty and has_dropout(network):
        return sample_logits([network], compute, run.inference, labels.has_regions).logits
    return compute(network)


def open_memory_of(run: FoldRun, network: nn.Module) -> CaseMemory:
    """Return what keeps the run's cases within memory, for `network` on its device."""
    networks = {run.configuration_name: [fed(network, run)]}
    device = next(network.parameters()).device
    return open_memory(run.plan, networks, run.network.target is not None, run.inference, device)


def _validate_case(
    run: FoldRun,
    network: nn.Module,
    store: Store,
    case: str,
    folder: Path,
    io: FoldIO,
    weights: str,
    memory: CaseMemory,
) -> CaseMetrics:
    configuration, labels, record = run.configuration, run.plan.labels, store.record(case)
    logits = case_logits(run, network, store, case, memory)
    segmentation = memory.places.run(partial(restore_segmentation, logits, record, run.plan, configuration))
    finer = None
    if run.next_stage is not None:
        shape = run.next_stage.shape(record, run.plan.transpose_forward)
        finer = memory.places.run(partial(segment_for_next_stage, logits, record, run.plan, configuration, shape))
    io.check_ownership()
    if run.keep_logits:
        save_logits(logits_path(folder / VALIDATION, case), logits.cpu().numpy(), logits_hash(run, weights))
    if finer is not None:
        save_segmentation(folder / NEXT_STAGE, case, finer)
    io.write_segmentation(case, segmentation, folder / VALIDATION / f"{case}{ENDING}")
    reference = io.read_reference(case)
    return case_metrics(case, np.asarray(reference.array[0]), segmentation, labels, reference.spacing)


def _load_scored(run: FoldRun, folder: Path, made_from: dict[str, Any]) -> dict[str, CaseMetrics]:
    """Return the scores of cases whose files are all there; none where they were made from something else.

    Cases that were only counted, by an earlier version, are done again, for means over the same cases.
    """
    target = folder / VALIDATION
    return {
        scored.case: scored
        for path in target.glob(_SCORED)
        for scored in load_scored(path, made_from)
        if scored.measures
        and (target / f"{scored.case}{ENDING}").is_file()
        and (run.next_stage is None or has_segmentation(folder / NEXT_STAGE, scored.case))
    }


def _dice_text(metrics: CaseMetrics) -> str:
    return ", ".join(f"{name} {counts.dice:.4f}" for name, counts in metrics.labels.items())
