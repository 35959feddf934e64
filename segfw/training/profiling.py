"""Where a fold's time goes: Lightning's profilers, whose reports come to lie in the run's folder.

profile.txt: a table of actions (simple), of functions for each action (advanced) or of operators (pytorch, also as
profile.json, a trace of single steps for chrome://tracing or ui.perfetto.dev). Of other ranks: profile_rank1.txt, ...
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from segfw.core.support.ranks import Ranks
from segfw.training.run import FoldRun

log = logging.getLogger(__name__)

PROFILE = "profile"
PROFILERS: dict[str, Callable[[Path], Profiler]] = {
    "simple": lambda folder: SimpleProfiler(folder, PROFILE),
    "advanced": lambda folder: AdvancedProfiler(folder, PROFILE, line_count_restriction=30),
    "pytorch": lambda folder: PyTorchProfiler(folder, PROFILE),
}


@contextmanager
def profiled(trainer: Trainer, run: FoldRun, folder: Path, ranks: Ranks) -> Iterator[None]:
    """Measure what `trainer` does in the block where `trainer.profiler` says how, and keep the report in `folder`."""
    if run.trainer.profiler is None:
        yield
        return
    drafts = folder / f".tmp-{PROFILE}-{ranks.rank}"  # where Lightning writes under names of its own
    shutil.rmtree(drafts, ignore_errors=True)
    trainer.profiler = PROFILERS[run.trainer.profiler](drafts)  # type: ignore[attr-defined]
    try:
        yield
        for path in sorted(drafts.glob("*")):
            _keep(path, folder, ranks)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def _keep(draft: Path, folder: Path, ranks: Ranks) -> None:
    name = PROFILE if ranks.leads else f"{PROFILE}_rank{ranks.rank}"
    path = folder / f"{name}{draft.suffix}"
    draft.replace(path)
    if ranks.leads:
        log.info("profile: %s", path)
