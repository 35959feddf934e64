"""Logits of validation cases that an ensemble needs and that are not kept: named, and made again on the device."""

import logging
from pathlib import Path

import torch

from segfw.core.errors import ArtefactError
from segfw.core.settings.training import TrainerSettings
from segfw.core.support.words import counted
from segfw.data.kept_logits import logits_path
from segfw.stages.trainings.runs import FinishedFold
from segfw.training.devices import choose_device, set_threads
from segfw.training.logits import make_logits, missing_logits
from segfw.training.run import VALIDATION

log = logging.getLogger(__name__)


class MissingLogits:
    """Makes what is missing, and removes it again where it shall not be kept.

    `own`: the network of the user's that the command names; another one, which merely a run's folder names, is not
    imported.
    """

    def __init__(self, settings: TrainerSettings, own: str | None) -> None:
        self._settings, self._own = settings, own
        self._made: list[Path] = []

    def complete(self, fold: FinishedFold, cases: list[str]) -> None:
        """Let the logits of the fold's `cases` be there; `ArtefactError` where they cannot be made again."""
        missing = missing_logits(fold.run, fold.folder, fold.done.weights, cases)
        if not missing:
            return
        target = fold.run.network.target
        if target not in (None, self._own):
            raise ArtefactError(
                f"{fold.folder} lacks the logits of {counted(len(missing), 'case')}, and its network is {target}, code "
                f"that this command does not name: give network._target_={target} to let it be run, or name=ANOTHER"
            )
        log.info(
            "select: %s fold %s lacks the logits of %s, which are made again: %s",
            *(fold.candidate, fold.run.fold, counted(len(missing), "case"), ", ".join(missing)),
        )
        device = choose_device(self._settings.accelerator, self._settings.precision, self._settings.threads)
        set_threads(device)
        make_logits(fold.run, fold.folder, fold.done.weights, missing, torch.device(device.accelerator))
        self._made += [logits_path(fold.folder / VALIDATION, case) for case in missing]

    def remove(self) -> None:
        """Remove what was made here."""
        for path in self._made:
            path.unlink(missing_ok=True)
