"""Logits of a fold's validation cases that are not kept (any more), made again from its last checkpoint."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from segfw.core.errors import ArtefactError
from segfw.core.support.files import sha256
from segfw.data.kept_logits import has_logits, logits_path, save_logits
from segfw.inference.bundle import Member
from segfw.inference.predictor import load_network
from segfw.nn.build import cut
from segfw.training.cascade import open_store
from segfw.training.checkpoints import network_weights
from segfw.training.run import CHECKPOINTS, LAST, VALIDATION, FoldRun
from segfw.training.validation import case_logits, logits_hash, open_memory_of

log = logging.getLogger(__name__)


def missing_logits(run: FoldRun, folder: Path, weights: str, cases: Sequence[str]) -> list[str]:
    """Return those of the validation `cases` whose logits are not there, or were made from other weights or settings.

    `weights`: SHA-256 of the checkpoint with which the run was validated.
    """
    made_from = logits_hash(run, weights)
    return [case for case in cases if not has_logits(logits_path(folder / VALIDATION, case), made_from)]


def make_logits(run: FoldRun, folder: Path, weights: str, cases: Sequence[str], device: torch.device) -> None:
    """Compute and keep the logits of validation `cases`, as whole-case validation does, but for rounding.

    Raises `ArtefactError` where the checkpoint is another one than was validated, or the store lacks something.
    """
    checkpoint = folder / CHECKPOINTS / LAST
    if (found := sha256(checkpoint)) != weights:
        raise ArtefactError(f"{checkpoint} is not the one that was validated: its SHA-256 is {found}, not {weights}")
    store = open_store(run)
    own = run.network
    member = Member(run.configuration_name, run.fold, own.name, network_weights(checkpoint), own.target, own.arguments)
    network = load_network(run.plan, member).to(device).eval()
    cut(network, run.inference.depth)
    made_from, memory = logits_hash(run, weights), open_memory_of(run, network)
    for number, case in enumerate(cases, 1):
        logits = case_logits(run, network, store, case, memory)
        save_logits(logits_path(folder / VALIDATION, case), logits.cpu().numpy(), made_from)
        log.info("logits %d/%d  %s fold %s  %s", number, len(cases), run.configuration_name, run.fold, case)
