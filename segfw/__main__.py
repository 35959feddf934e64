"""The program, `python -m segfw` or `segfw`: reads the command line, composes and checks the settings, runs the job.

The configuration is composed twice: first here, to answer a wrong one at once, in the user's words and with exit
status 2; then by Hydra's own entry, which knows run folders, sweeps and launchers. Stages are imported only when a job
runs, so that help and mistakes are answered without loading PyTorch.
"""

import functools
import importlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode

from segfw import completion, config
from segfw.command_line import VERBS, Command, JobFailed, Verb, overview, parse_command, quote
from segfw.config import config_folder
from segfw.core.errors import SegfwError, UsageError
from segfw.core.settings.checks import check_settings, unknown_choice
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.tree import changed_text, tree_text
from segfw.core.support.files import write_text
from segfw.core.support.ranks import launched_ranks
from segfw.sweeps.jobs import SHARED, Swept, swept_values, variant
from segfw.sweeps.launchers import GROUP, SLURM, check_launcher_is_there, check_launcher_key, register_defaults
from segfw.sweeps.multirun import AnsweringFor, Jobs, Part, plan_jobs
from segfw.sweeps.plugin import register_sweeper, searches
from segfw.sweeps.space import searched_keys

INTERRUPTED = 130
MAIN, CONFIG_TREE = "experiment", "config_tree.log"
READ_ONLY = ("status",)
"""Verbs that write nothing, not even the log of a command."""
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
        elif status == 1 and not expected and not isinstance(error, OSError):
            traceback.print_exception(error)  # no log was opened yet
        complain(message)
        if job is not None and job.mode == RunMode.MULTIRUN:
            raise JobFailed(status, message) from error
        raise SystemExit(status) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 the job failed, 2 the command line is wrong."""
    # Threads that wait for work would otherwise spin, which halves the speed of whatever shares the cores with them.
    # It has to stand before PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with _Reporting(), _leaving_on_sigterm():
            return _run(parse_command(sys.argv[1:] if arguments is None else list(arguments)))
    except JobFailed as error:
        return int(error.args[0])
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)


@contextmanager
def _leaving_on_sigterm() -> Iterator[None]:
    """End in order on SIGTERM: locks are given back and worker processes ended on the way out."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def complain(message: str) -> None:
    """Write one message to stderr."""
    sys.stderr.write(f"segfw: {message}\n")
    sys.stderr.flush()


def _run(command: Command) -> int:
    if command.help and command.verb is None:
        sys.stdout.write(overview() + "\n")
        return 0
    name = command.verb or MAIN
    verb, page = VERBS[name], command.config_name or name
    register_schemas()
    if "--shell-completion" in command.flags:
        python = Path(sys.executable).name if Path(sys.argv[0]).name == "__main__.py" else None
        folders = [config_folder(), Path.cwd() / "configs"]
        sys.stdout.write(completion.answer(command.overrides, folders, os.environ, python))
        return 0
    if command.informs:
        _hand_over(page, _job(verb, {}), list(command.flags))
        return 0
    try:
        own = [each for each in command.overrides if not each.startswith("hydra.searchpath=")]
        overrides = [*own, *_search_path(command)]
        composed, swept = _compose(verb, page, overrides, command.multirun)
        multirun = command.multirun or composed.hydra.mode == RunMode.MULTIRUN
    except OverrideParseException as error:
        raise UsageError(f"cannot read {error.override!r}: {error.message.splitlines()[0]}") from error
    except (HydraException, config.CompositionError) as error:
        raise _explained(verb, error) from error
    except yaml.YAMLError as error:
        raise UsageError(f"a file of the configuration is no YAML: {' '.join(str(error).split())}") from error
    if command.help:
        sys.stdout.write(f"{verb.summary}\nusage: {verb.example}\n\n{config.describe(verb.settings, composed)}\n")
        return 0
    _check_required(name, verb, composed)
    settings: Any = config.load(verb.settings, composed, verb.page)
    _check_run_folder(settings)
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
    if searches(composed.hydra):
        arguments.append(f"hydra.sweeper.command=[{','.join(map(quote, command.words))}]")
    if name in READ_ONLY or (dry and not multirun):
        with _plain_messages():
            _call(verb, settings)
    elif dry:
        with tempfile.TemporaryDirectory(prefix="segfw-dry-run-") as folder:
            _hand_over(page, _job(verb, swept), [*command.flags, *_elsewhere(overrides, folder)])
    elif multirun and name == MAIN:
        jobs = plan_jobs(settings, swept, composed.hydra)
        with AnsweringFor(jobs):
            _hand_over(page, _job(verb, swept, jobs), arguments)
    else:
        _hand_over(page, _job(verb, swept), arguments)
    return 0


@functools.cache
def register_schemas() -> None:
    """Let Hydra find each verb's schema, on which its YAML page is laid, our defaults of launchers, and our sweeper."""
    register_defaults()
    register_sweeper()
    for name, verb in VERBS.items():
        node = config.schema(verb.page or verb.settings)
        ConfigStore.instance().store(name, node, group="schema", package="_global_")


def _hand_over(name: str, job: Callable[[Any], float | None], arguments: list[str]) -> None:
    """Let Hydra's entry run `job`: it makes the run folder, sets logging up, and runs sweeps through their launcher."""
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [sys.argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back here instead of being printed as tracebacks
    try:
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
def _plain_messages() -> Iterator[None]:
    """Show what is logged on the screen alone, as a command with a log of its own does."""
    root = logging.getLogger()
    screen, level = logging.StreamHandler(sys.stdout), root.level
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
        with _leaving_on_sigterm() if jobs is None or jobs.launcher != SLURM else nullcontext():
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
        if part is not None:
            part.done()
        return None if result is None else float(result)

    return job


def _tell_settings(verb: Verb, settings: Any) -> None:
    """Write every setting of the command beside its log; of the main job say which are not the defaults."""
    tree = tree_text(settings)
    write_text(Path(HydraConfig.get().runtime.output_dir) / CONFIG_TREE, tree)
    if verb is not VERBS[MAIN]:
        return
    changed = changed_text(settings, check_settings(replace(ExperimentSettings(), task=settings.task)))
    if settings.print_config:
        log.info("%s", tree.rstrip())
    elif changed:
        log.info("settings: %s", changed)


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


def _search_path(command: Command) -> list[str]:
    """Return the override that adds the user's folders of YAML files: hydra.searchpath, --config-dir, ./configs."""
    parsed = OverridesParser.create().parse_overrides(list(command.overrides))
    given = [each.value() for each in parsed if each.key_or_group == "hydra.searchpath"]
    folders = [str(item) for value in given if isinstance(value, list) for item in value]
    if command.config_dir is not None:
        if not Path(command.config_dir).is_dir():
            raise UsageError(f"--config-dir: there is no folder {command.config_dir!r}")
        folders.append(f"file://{Path(command.config_dir).absolute()}")
    own = Path.cwd() / "configs"
    if own.is_dir() and own.resolve() != config_folder():
        folders.append(f"file://{own}")
    return [f"hydra.searchpath=[{','.join(map(quote, folders))}]"] if folders else []


def _compose(verb: Verb, name: str, overrides: list[str], multirun: bool) -> tuple[Any, Swept]:
    """Compose the configuration, Hydra's own node included (of a sweep: its first job); return it and what is swept."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        paths = [override for override in overrides if override.startswith("hydra.searchpath=")]
        defaults = loader.compute_defaults_list(name, paths, RunMode.RUN).defaults
        chosen = {each.override_key for each in defaults}
        launcher = next((str(each.value()) for each in parsed if each.key_or_group == GROUP), "basic")
        for override in parsed:
            group = override.key_or_group
            options = loader.get_group_options(group, overrides=paths)
            if options and group != "schema":
                _check_choice(override, options, group in chosen, verb)
            elif group.startswith("hydra.launcher."):
                check_launcher_key(launcher, group.removeprefix("hydra.launcher."))
            elif not override.is_hydra_override():
                config.check_key(verb.page or verb.settings, group)
        swept = swept_values(parsed)
        composed = hydra.compose(name, [_first_value(each) for each in parsed], return_hydra_config=True)
        if swept and not multirun and composed.hydra.mode != RunMode.MULTIRUN:
            first = next(iter(swept))
            raise UsageError(
                f"{first} is given several values; add -m to run once for each of them, "
                f"or put them in brackets, {first}=[...], if they are one list"
            )
        return composed, swept


def _check_choice(override: Override, options: list[str], chosen: bool, verb: Verb) -> None:
    """Refuse a choice that a group of YAML files does not offer, and a plus too many or too few."""
    group, plus = override.key_or_group, override.is_add() or override.is_force_add()
    values = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
    names = [name for value in values for name in (value if isinstance(value, list) else [value])]
    for name in names:
        if group == GROUP:
            check_launcher_is_there(str(name), options)
        if name is not None and not override.is_delete() and str(name) not in options:
            raise unknown_choice(group, str(name), options)
    line = str(override.input_line).lstrip("+")
    if not plus and not chosen and not override.is_delete() and group in {key.dotted for key in verb.keys}:
        raise UsageError(f"{group} has no default that could be replaced; write it with a plus: +{line}")
    if plus and chosen:
        raise UsageError(f"{group} has a default that is replaced; write it without the plus: {line}")


def _first_value(override: Override) -> str:
    """Return the override of the first job of a sweep, or the override itself where it sweeps nothing."""
    if override.is_interval_sweep():
        value = str(getattr(override.value(), "start", ""))
    elif override.is_sweep_override():
        first = next(iter(override.sweep_string_iterator()), None)
        if first is None:
            raise UsageError(f"{override.input_line!r} names no value")
        value = first
    else:
        return str(override.input_line)
    return f"{override.get_key_element()}={value}"


def _explained(verb: Verb, error: Exception) -> UsageError:
    """Say in the user's words what does not compose: a file's unknown key by the nearest one, a file of no keys."""
    text = " ".join(str(error).split())
    if text.startswith("Error merging override ") and error.__cause__ is not None:  # of Hydra's own keys
        text = f"{text.removeprefix('Error merging override ')}: {str(error.__cause__).splitlines()[0]}"
    unknown = re.search(r"In '(?P<file>[^']+)': ConfigKeyError.*full_key: (?P<key>\S+)", text)
    if unknown:
        try:
            config.check_key(verb.page or verb.settings, unknown["key"])
        except UsageError as reason:
            return UsageError(f"{unknown['file']}.yaml: {reason}")
    no_mapping = re.search(r"In '(?P<file>[^']+)': .*Merge error: (?P<kind>\w+) is not a subclass", text)
    if no_mapping:
        return UsageError(f"{no_mapping['file']}.yaml must hold key: value lines, got a {no_mapping['kind']}")
    return UsageError(text)


def _check_required(name: str, verb: Verb, composed: Any) -> None:
    missing = [key for key in verb.required if composed.get(key) in (None, "")]
    if missing:
        raise UsageError(f"{name} needs {' and '.join(f'{key}=' for key in missing)}, as in: {verb.example}")


def _check_run_folder(settings: Any) -> None:
    """Refuse the one pair of characters that Hydra cannot have in the absolute name of its run folder."""
    folder = Path.cwd() / getattr(settings, "output_root", "outputs")
    if "${" in str(folder):
        raise UsageError(f"output_root must not hold '${{' (Hydra would read it as a reference), got {str(folder)!r}")


if __name__ == "__main__":
    sys.exit(main())
