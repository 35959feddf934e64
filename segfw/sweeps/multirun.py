"""The two ends of a multirun: the command that starts jobs and answers for them, and each job, wherever it runs."""

import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any
from uuid import uuid4

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from segfw.core.errors import JobError, UsageError
from segfw.core.settings.multirun import Multirun
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.interruption import SIGNALS
from segfw.core.support.job_board import Posting, end_jobs, make_board, post, read_board, wait_for_jobs
from segfw.core.support.parents import started_at, terminate_after
from segfw.core.support.ranks import launched_ranks
from segfw.core.support.words import counted
from segfw.sweeps.jobs import (
    Swept,
    configuration_choices,
    fold_choices,
    number_of_jobs,
    swept_values,
    what_failed,
)
from segfw.sweeps.launchers import (
    CARDS,
    GIVE_CARDS,
    JOBLIB,
    LOCAL,
    SLURM,
    check_launcher,
    jobs_at_once,
    kind_of,
    lacks_cards,
    see_cards_again,
    threads_of_jobs,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jobs:
    """The jobs of one command, a value that every job is given.

    `launcher`: who starts them, with the `values` of hydra.launcher; `count`: how many there are, None where a sweeper
    decides; `parent` and `started`: the process that answers for them; `cards`: its CUDA_VISIBLE_DEVICES.
    """

    multirun: Multirun
    swept: Swept
    launcher: str
    values: Mapping[str, Any]
    count: int | None
    parent: int
    started: str
    cards: str | None

    @property
    def board(self) -> Path:
        """Where they say how they stand."""
        return Path(self.multirun.board)


def plan_jobs(settings: ExperimentSettings, swept: Swept, node: Any) -> Jobs:
    """Return the jobs of a command with -m, `node` being its composed `hydra`; `settings` are those of the first job.

    Raises `UsageError` for numbers that a launcher cannot start jobs with, and for wrong folds or configurations of
    any job.
    """
    launcher = kind_of(str(node.launcher.get("_target_")))
    values = {str(key): node.launcher.get(key) for key in node.launcher if key not in ("submitit_folder", "name")}
    values = {key: value for key, value in values.items() if isinstance(value, int | str | None)}
    check_launcher(launcher, values)
    if lacks_cards(launcher, values) and settings.trainer.accelerator != "cpu":
        log.warning("no graphics card is asked for: hydra.launcher.gpus_per_node=1, or %s", " or ".join(GIVE_CARDS[1:]))
    is_grid = str(node.sweeper.get("_target_")).endswith(".BasicSweeper")
    if is_grid:
        given = [f"{key}={value}" for key, value in (node.sweeper.get("params") or {}).items()]
        swept = {**swept_values(OverridesParser.create().parse_overrides(given)), **swept}
    count = number_of_jobs(swept) if is_grid else None
    grid = swept if is_grid else {}
    board = Path(settings.output_root) / str(settings.task.name) / ".locks" / f"multirun_{uuid4().hex[:8]}"
    multirun = Multirun(
        folds=fold_choices(settings, grid),
        configurations=configuration_choices(settings, grid),
        at_once=jobs_at_once(launcher, values, count or node.sweeper.get("n_jobs")),
        board=str(board.absolute()),
    )
    pid = os.getpid()
    return Jobs(multirun, swept, launcher, values, count, pid, started_at(pid), os.environ.get(CARDS))


class AnsweringFor:
    """While the block starts `jobs` and waits for them: let them share the cores, and see to it that all end with it.

    One that fails does not stop the others, whatever its launcher does. Raises `JobError` that says which failed, or
    `UsageError` if none of the failures is but a wrong setting. An interruption ends the jobs of this computer; those
    of a cluster go on.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._threads = threads_of_jobs(jobs.multirun.at_once)
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "AnsweringFor":
        make_board(self._jobs.board)
        self._threads.__enter__()
        if self._jobs.launcher == JOBLIB and threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._end_first) for number in SIGNALS}
        return self

    def _end_first(self, number: int, frame: FrameType | None) -> None:
        """End the jobs in order before joblib hears of an interruption: it would kill them where they stand."""
        end_jobs(self._jobs.board)
        handler = self._handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        board = self._jobs.board
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._threads.__exit__(None, None, None)
        if error is not None and not isinstance(error, Exception):
            self._leave()
            return
        if error is not None:
            wait_for_jobs(board)
        postings = read_board(board)
        shutil.rmtree(board, ignore_errors=True)
        if error is not None and postings:
            raise self._failure(postings) from error
        if error is None and self._jobs.launcher in (JOBLIB, LOCAL, SLURM):
            logs = ", ".join(sorted({str(Path(posting.log).parents[1] / "*") for posting in postings}))
            log.info("%s done; their logs: %s", counted(len(postings), "job"), logs)

    def _leave(self) -> None:
        """End what the interrupted command has started; what a cluster has, goes on and still needs its board."""
        if self._jobs.launcher == SLURM:
            log.warning("jobs that were submitted go on; scancel ends them")
            return
        end_jobs(self._jobs.board)
        shutil.rmtree(self._jobs.board, ignore_errors=True)

    def _failure(self, postings: Sequence[Posting]) -> JobError | UsageError:
        message = what_failed(postings, self._jobs.count, self._jobs.swept)
        statuses = {posting.status for posting in postings if posting.state != "done"}
        return UsageError(message) if statuses == {UsageError.exit_status} else JobError(message)


def use_own_start_method() -> None:
    """Let this process start others as any Python does.

    joblib's processes are told to start theirs by a method of its own, of which those that segfw and PyTorch start know
    nothing: each would end at once.
    """
    multiprocessing.set_start_method(None, force=True)


class Part:
    """One job's end of it, in the job's own process."""

    def __init__(self, jobs: Jobs) -> None:
        job = HydraConfig.get()
        log = f"{job.runtime.output_dir}/{job.job.name}.log"
        self._board = jobs.board
        self._posting = Posting(int(job.job.num), tuple(job.overrides.task), "", log)
        self._speaks = launched_ranks().leads  # of the processes of one job one does
        if jobs.launcher == JOBLIB:
            use_own_start_method()
        if jobs.launcher in (JOBLIB, LOCAL):
            terminate_after(jobs.parent, jobs.started)
            see_cards_again(jobs.launcher, jobs.values, jobs.cards)
        self._say(self._posting)

    def named(self, name: str) -> None:
        """Say under which name its runs lie."""
        self._say(replace(self._posting, name=name))

    def failed(self, status: int, message: str) -> None:
        """Say why it failed."""
        self._say(replace(self._posting, state="failed", status=status, message=message))

    def done(self) -> None:
        """Say that it is done."""
        self._say(replace(self._posting, state="done"))

    def _say(self, posting: Posting) -> None:
        self._posting = posting
        if self._speaks:
            post(self._board, posting)
