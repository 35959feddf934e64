"""The program, `python -m segfw` or `segfw`: reads the command line, composes and checks the settings, runs the job.

The configuration is composed twice: first here, to answer a wrong one at once, in the user's words and with exit
status 2; then by Hydra's own entry, which knows run folders, sweeps and launchers. Stages are imported only when a job
runs, so that help and mistakes are answered without loading PyTorch.
"""

import importlib
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from types import TracebackType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode

from segfw import completion, config
from segfw.command_line import VERBS, Command, JobFailed, Verb, overview, parse_command, quote, versions
from segfw.composition import (
    check_required,
    check_run_folder,
    check_task,
    compose,
    register_schemas,
    tell_dry_search,
)
from segfw.config import config_folder
from segfw.core.errors import SegfwError, UsageError
from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.tree import changed_text, tree_text
from segfw.core.support import slurm
from segfw.core.support.files import write_text, writing
from segfw.core.support.interruption import interruption_behind, leaving_on_sigterm, uninterrupted
from segfw.core.support.parents import EXIT_AFTER_SIGTERM
from segfw.core.support.ranks import launched_ranks
from segfw.core.support.screen import Screen, tell
from segfw.sweeps.jobs import SHARED, Swept, variant
from segfw.sweeps.launchers import SLURM
from segfw.sweeps.multirun import AnsweringFor, Jobs, Part, plan_jobs
from segfw.sweeps.plugin import searches
from segfw.sweeps.space import searched_keys

INTERRUPTED = 130
LINE = 120
MAIN, CONFIG_TREE = "experiment", "config_tree.log"
READ_ONLY = ("status", "compare")
"""Verbs that write nothing but what is asked for, not even the log of a command."""
log = logging.getLogger(__name__)
failures = logging.getLogger("segfw.failures")


class _Reporting:
    """Explain whatever ends the block, a line for the user and the traceback for the log, and leave with its status."""

    def __enter__(self) -> "_Reporting":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit | KeyboardInterrupt | JobFailed):
            return
        if (interruption := interruption_behind(error)) is not None:
            raise interruption
        job = HydraConfig.get() if HydraConfig.initialized() else None
        expected = isinstance(error, SegfwError)
        status = error.exit_status if isinstance(error, SegfwError) else 1
        message = str(error) if expected else f"unexpected {type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, OSError) and error.filename is not None:
            message, expected = f"{error.filename}: {error.strerror}", True  # a full disk, a file in a folder's place
        if job is None and isinstance(error, HydraException | config.CompositionError):
            message, status = " ".join(str(error).split()), UsageError.exit_status
        if job is not None:
            failures.error(message, exc_info=(type(error), error, trace))
            if not expected:
                message += f"; the traceback is in {job.runtime.output_dir}/{job.job.name}.log"
        elif status == 1 and not expected and not isinstance(error, BrokenPipeError):
            traceback.print_exception(error)  # there is no log, or none yet
        complain(message)
        if job is not None and job.mode == RunMode.MULTIRUN:
            raise JobFailed(status, message) from error
        raise SystemExit(status) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 the job failed, 2 the command line is wrong."""
    # Threads that wait for work would otherwise spin, which halves the speed of whatever shares the cores with them.
    # It has to stand before PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warned: list[int] = []
    try:
        with leaving_on_sigterm(warned if slurm.warns(os.environ) else None):
            try:
                with _Reporting():
                    return _run(parse_command(sys.argv[1:] if arguments is None else list(arguments)))
            except SystemExit as error:
                if error.code == EXIT_AFTER_SIGTERM:
                    with uninterrupted():  # SLURM may warn again, and srun ends all tasks when one has ended
                        complain(slurm.requeue(os.environ) if warned else "terminated")
                raise
    except JobFailed as error:
        return int(error.args[0])
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)


def complain(message: str) -> None:
    """Write one message to stderr."""
    sys.stderr.write(f"segfw: {message}\n")
    sys.stderr.flush()


def _run(command: Command) -> int:
    if command.version:
        tell(versions() + "\n")
        return 0
    if command.help and command.verb is None:
        tell(overview() + "\n")
        return 0
    name = command.verb or MAIN
    verb, page = VERBS[name], command.config_name or name
    register_schemas()
    if "--shell-completion" in command.flags:
        python = Path(sys.executable).name if Path(sys.argv[0]).name == "__main__.py" else None
        folders = [config_folder(), Path.cwd() / "configs"]
        tell(completion.answer(command.overrides, folders, os.environ, python))
        return 0
    if command.informs:
        _hand_over(page, _job(verb, {}), list(command.flags))
        return 0
    composed, swept, overrides = compose(verb, page, command)
    multirun = command.multirun or composed.hydra.mode == RunMode.MULTIRUN
    if command.help:
        tell(f"{verb.summary}\nusage: {verb.example}\n\n{config.describe(verb.settings, composed)}\n")
        return 0
    check_required(name, verb, composed)
    if name == "status":
        check_task(composed)
    settings: Any = config.load(verb.settings, composed, verb.page)
    check_run_folder(settings)
    ranks = launched_ranks()
    if ranks.together and (multirun or not isinstance(settings, ExperimentSettings)):
        raise UsageError(
            f"{ranks.world_size} processes were started together, which the main job alone can use, without -m; "
            "start this command once"
        )
    if not ranks.leads:  # the first keeps the job's log; this one takes part in its fits
        _call(verb, settings)
        return 0
    arguments, dry = [*command.flags, *overrides], getattr(settings, "dry_run", False)
    search = searches(composed.hydra)
    if search:
        arguments.append(f"hydra.sweeper.command=[{','.join(map(quote, command.words))}]")
    logs = str(composed.hydra.sweep.dir if multirun else composed.hydra.run.dir)
    alone = dry and (search or not multirun)  # of a search, one trial tells what each would do
    if alone or (name in READ_ONLY and not swept):
        with _plain_messages():
            if dry and search and name == MAIN:
                tell_dry_search(page, overrides)
            _tell_changed(verb, settings)
            _call(verb, settings)
    elif dry:
        with _logging_put_back(), tempfile.TemporaryDirectory(prefix="segfw-dry-run-") as folder:
            _hand_over(page, _job(verb, swept), [*command.flags, *_elsewhere(overrides, folder)], folder)
    elif multirun and name == MAIN:
        jobs = plan_jobs(settings, swept, composed.hydra)
        with AnsweringFor(jobs):
            _hand_over(page, _job(verb, swept, jobs), arguments, logs)
    else:
        _hand_over(page, _job(verb, swept), arguments, logs)
    return 0


def _hand_over(name: str, job: Callable[[Any], float | None], arguments: list[str], folder: str = "") -> None:
    """Let Hydra's entry run `job`: it makes the run folder, sets logging up, and runs sweeps through their launcher.

    `folder`: which Hydra writes to; an error that it has there does not reach `job`.
    """
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [sys.argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back here instead of being printed as tracebacks
    try:
        with writing(Path(folder)):
            hydra.main(config_path=str(config_folder()), config_name=name, version_base="1.3")(job)()
    finally:
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]


def _elsewhere(overrides: list[str], folder: str) -> list[str]:
    """Return the overrides of a sweep that runs here, one job after the other, and keeps its logs in `folder`."""
    kept = [each for each in overrides if not re.match(r"\+{0,2}hydra([/.]launcher|\.(sweep|output_subdir))\b", each)]
    return [*kept, f"hydra.sweep.dir={quote(folder)}", "hydra.output_subdir=null", "hydra/launcher=basic"]


@contextmanager
def _logging_put_back() -> Iterator[None]:
    """Take away again what Hydra lets loggers write to in the block, such as files of a folder that ends with it."""
    loggers = (logging.getLogger(), failures)
    before = [logger.handlers[:] for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers


@contextmanager
def _plain_messages() -> Iterator[None]:
    """Show what is logged on the screen alone, as a command with a log of its own does."""
    root = logging.getLogger()
    screen, level = Screen(sys.stdout), root.level
    root.addHandler(screen)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(screen)
        root.setLevel(level)


def _job(verb: Verb, swept: Swept, jobs: Jobs | None = None) -> Callable[[Any], float | None]:
    """Return what Hydra runs, once or for each job of a multirun, whose processes are given it by value."""

    def job(composed: Any) -> float | None:
        part = None if jobs is None else Part(jobs)
        with leaving_on_sigterm() if jobs is None or jobs.launcher != SLURM else nullcontext():
            try:
                with _Reporting():
                    settings: Any = config.load(verb.settings, composed, verb.page)
                    if isinstance(settings, ExperimentSettings):
                        settings = _named_variant(settings, swept)
                    _tell_settings(verb, settings)
                    if part is None or jobs is None:
                        result = _call(verb, settings)
                    else:
                        part.named(settings.name)
                        result = _call(verb, settings, jobs.multirun)
            except JobFailed as error:
                if part is not None:
                    part.failed(*error.args)
                raise
            except (KeyboardInterrupt, SystemExit):
                if part is not None:
                    part.failed(INTERRUPTED, "interrupted")
                raise
        if part is not None:
            part.done()
        return None if result is None else float(result)

    return job


def _tell_settings(verb: Verb, settings: Any) -> None:
    """Write every setting of the command beside its log; of the main job say which are not the defaults."""
    write_text(Path(HydraConfig.get().runtime.output_dir) / CONFIG_TREE, tree_text(settings))
    _tell_changed(verb, settings)


def _tell_changed(verb: Verb, settings: Any) -> None:
    """Say which settings of the main job are not the defaults, or all of them where that is asked."""
    if verb is not VERBS[MAIN]:
        return
    changed = changed_text(settings, check_settings(replace(ExperimentSettings(), task=settings.task)))
    if settings.print_config:
        log.info("%s", tree_text(settings).rstrip())
    elif changed:
        text = f"settings: {changed}"
        log.info("%s", fill(text, LINE, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _call(verb: Verb, *arguments: Any) -> Any:
    module, function = verb.job.split(":")
    return getattr(importlib.import_module(module), function)(*arguments)


def _named_variant(settings: ExperimentSettings, swept: Swept) -> ExperimentSettings:
    """Give each job of a sweep a name of its own, unless only folds and configurations vary, which share one."""
    job = HydraConfig.get()
    searched = {*swept, *searched_keys(job.sweeper.get("params"))} - {*SHARED}
    if job.mode != RunMode.MULTIRUN or not searched or "name" in searched:
        return settings
    return replace(settings, name=f"{settings.name}_{variant(job.overrides.task, searched)}")


if __name__ == "__main__":
    sys.exit(main())
