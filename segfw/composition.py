"""From a command line to a composed configuration, checked before Hydra's own entry runs: wrong words exit with 2."""

import functools
import re
import shlex
import traceback
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode

from segfw import config
from segfw.command_line import VERBS, Command, Verb, quote
from segfw.config import config_folder
from segfw.core.errors import UsageError
from segfw.core.settings.choices import unknown_choice
from segfw.sweeps.dry_search import tell_search
from segfw.sweeps.jobs import Swept, swept_values
from segfw.sweeps.launchers import GROUP, check_launcher_is_there, check_launcher_key, register_defaults
from segfw.sweeps.plugin import CHOICE, check_sweeper_key, register_sweeper, searches
from segfw.sweeps.plugin import GROUP as SWEEPER_GROUP
from segfw.sweeps.space import PLACE, searched_keys

# what Hydra and OmegaConf were seen to raise for words without a sense, such as a key below one that is null
UNEXPLAINED = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@functools.cache
def register_schemas() -> None:
    """Let Hydra find the schemas on which YAML pages are laid, our defaults of launchers, and our sweeper.

    Verbs that take the main job's settings have pages that are laid on its page.
    """
    register_defaults()
    register_sweeper()
    pages = {verb.settings: name for name, verb in reversed(VERBS.items()) if verb.page is None}
    for settings, name in pages.items():
        ConfigStore.instance().store(name, config.schema(settings), group="schema", package="_global_")


def compose(verb: Verb, page: str, command: Command) -> tuple[Any, Swept, list[str]]:
    """Compose what `command` says (of a sweep: its first job), Hydra's own node included.

    Returns it, the keys that are swept with their values, and the overrides that Hydra's entry is given. Raises
    `UsageError` for whatever is wrong with them, in the user's words.
    """
    try:
        own = [each for each in command.overrides if not each.startswith("hydra.searchpath=")]
        overrides = [*own, *_search_path(command)]
        return *_compose(verb, page, overrides, command.multirun), overrides
    except OverrideParseException as error:
        raise _unreadable(error) from error
    except (HydraException, config.CompositionError) as error:
        raise _explained(verb, error) from error
    except yaml.YAMLError as error:
        raise UsageError(f"a file of the configuration is no YAML: {' '.join(str(error).split())}") from error
    except UNEXPLAINED as error:
        kind, node = type(error).__name__, _being_built(error)
        if node is not None:
            place = " ".join(str(node.start_mark).split())
            raise UsageError(
                f"a file of the configuration is no YAML: a value cannot be built: {kind}: {error} {place}"
            ) from error
        raise UsageError(f"cannot compose {' '.join(command.words)!r}: {kind}: {error}") from error


def _being_built(error: BaseException) -> yaml.Node | None:
    """Return the innermost value of a file that was being built when a constructor of PyYAML's failed over it.

    `!!map 1` and `!!bool x` are a ValueError and a KeyError that do not say where; the calls they ended hold it.
    """
    calls = [frame.f_locals.get("node") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((node for node in reversed(calls) if isinstance(node, yaml.Node)), None)


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
        found = loader.compute_defaults_list(name, paths, RunMode.RUN)
        chosen = {each.override_key for each in found.defaults} | {*found.overrides.known_choices}  # those of null, too
        launcher = next((str(each.value()) for each in parsed if each.key_or_group == GROUP), "basic")
        sweeper_keys: list[str] = []
        groups = {*loader.get_group_options("", ObjectType.GROUP, overrides=paths)}
        for override in parsed:
            group = override.key_or_group
            is_group = group.partition("/")[0] in groups  # asking Hydra, which copies all it knows, takes 0.1 s
            options = loader.get_group_options(group, overrides=paths) if is_group else []
            if options and group != "schema":
                _check_choice(override, options, group in chosen, verb)
            elif group.startswith("hydra.launcher."):
                check_launcher_key(launcher, group.removeprefix("hydra.launcher."))
            elif group.startswith("hydra.sweeper."):
                sweeper_keys.append(group.removeprefix("hydra.sweeper."))
            elif not override.is_hydra_override():
                config.check_key(verb.page or verb.settings, group)
                _refuse_value_of_node(override, verb)
        swept, first = swept_values(parsed), [_first_value(each) for each in parsed]
        if sweeper_keys and _chooses_our_sweeper(loader, name, first):
            _check_sweeper_keys(loader, verb, sweeper_keys)
        composed = hydra.compose(name, first, return_hydra_config=True)
        if searches(composed.hydra):
            _check_searched(loader, verb, searched_keys(composed.hydra.sweeper.params))
        if swept and not multirun and composed.hydra.mode != RunMode.MULTIRUN:
            key = next(iter(swept))
            raise UsageError(
                f"{key} is given several values; add -m to run once for each of them, "
                f"or put them in brackets, {key}=[...], if they are one list"
            )
        return composed, swept


def tell_dry_search(page: str, overrides: list[str]) -> None:
    """Say what the search that `overrides` ask for would do; they have been composed without an error before."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        shared = [str(each.input_line) for each in parsed if not each.is_sweep_override()]  # as Hydra's entry does
        composed = hydra.compose(page, shared, return_hydra_config=True)
        tell_search(composed, loader, [str(each.input_line) for each in parsed if not each.is_hydra_override()])


def _chooses_our_sweeper(loader: ConfigLoader, name: str, overrides: list[str]) -> bool:
    """Whether the sweeper is ours, also where a file chooses it; read before keys that it lacks end the composition."""
    defaults = loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults
    return any(each.config_path == f"{SWEEPER_GROUP}/{CHOICE}" for each in defaults)


def _check_sweeper_keys(loader: ConfigLoader, verb: Verb, given: list[str]) -> None:
    """Raise `UsageError` for what is given below hydra.sweeper and means nothing there."""
    for key in given:
        check_sweeper_key(key)
    params = "params."
    _check_searched(loader, verb, {key.removeprefix(params) for key in given if key.startswith(params)})


def _check_searched(loader: ConfigLoader, verb: Verb, searched: set[str]) -> None:
    """Raise `UsageError`, naming the nearest one, for a key to be searched that the settings do not have."""
    for key in sorted(searched):
        if key.startswith("hydra.") or loader.get_group_options(key):
            continue
        try:
            config.check_key(verb.page or verb.settings, key)
        except UsageError as error:
            raise UsageError(f"{PLACE}: {error}") from error


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


def _refuse_value_of_node(override: Override, verb: Verb) -> None:
    """Refuse one value for a node, which is a mapping: only its keys have values."""
    node = override.key_or_group
    own = [key.dotted for key in verb.keys if key.parent == node and not key.node]
    if not own or override.is_delete() or isinstance(override.value(), dict):
        return
    word = str(override.input_line).partition("=")[2]
    some = ", ".join(own[:3]) + (", ..." if len(own) > 3 else "")
    raise UsageError(f"{node} is a node, whose keys have values, {some}; it has none itself, got {word!r}")


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


def _unreadable(error: OverrideParseException) -> UsageError:
    """Say why Hydra cannot read an override: by a character that only quotes may hold, if there is one, and how."""
    text, (reason, *marked) = error.override, error.message.splitlines()
    lexer = "LexerNoViableAltException: "
    place = marked[0].find("^") - len(lexer) if marked else -1
    if not reason.startswith(lexer) or not 0 <= place < len(text):
        return UsageError(f"cannot read {text!r}: {reason}")
    key, _, value = text.partition("=")
    if place < len(key):
        return UsageError(f"cannot read {text!r}: a key cannot hold {text[place]!r}")
    # within a list or a choice it is one text of several, which only the user can tell from the others
    whole = not re.match(r"[\[{]|\w+\(", value)
    example = f"{key}={quote(value)}" if whole else f"{key}=[{quote(f'a {text[place]}')},b]"
    so = f"write {shlex.quote(example)}" if whole else f"quote the text that holds it, as in {shlex.quote(example)}"
    return UsageError(f"cannot read {text!r}: {text[place]!r} can only stand in quotes; {so}")


def _explained(verb: Verb, error: Exception) -> UsageError:
    """Say in the user's words what does not compose: a file's unknown key by the nearest one, a file of no keys."""
    text = " ".join(str(error).split())
    if text.startswith("Error merging override ") and error.__cause__ is not None:  # of Hydra's own keys
        text = f"{text.removeprefix('Error merging override ')}: {str(error.__cause__).splitlines()[0]}"
    unknown = re.search(r"In '(?P<file>[^']+)': ConfigKeyError.*full_key: (?P<key>\S+)", text)
    if unknown:
        if unknown["key"] == unknown["file"].partition("/")[0]:
            missing = "lacks the first line `# @package _global_`"
            return UsageError(f"{unknown['file']}.yaml {missing}, or has a key {unknown['key']!r}, which is unknown")
        try:
            config.check_key(verb.page or verb.settings, unknown["key"])
        except UsageError as reason:
            return UsageError(f"{unknown['file']}.yaml: {reason}")
    no_mapping = re.search(r"In '(?P<file>[^']+)': .*Merge error: (?P<kind>\w+) is not a subclass", text)
    if no_mapping:
        return UsageError(f"{no_mapping['file']}.yaml must hold key: value lines, got a {no_mapping['kind']}")
    return UsageError(text)


def check_required(name: str, verb: Verb, composed: Any) -> None:
    """Raise `UsageError` that names the keys without default that were not given to the verb `name`."""
    missing = [key for key in verb.required if composed.get(key) in (None, "")]
    if missing:
        raise UsageError(f"{name} needs {' and '.join(f'{key}=' for key in missing)}, as in: {verb.example}")


def check_task(composed: Any) -> None:
    """Raise `UsageError` if `status` was given no task; its message lists the tasks with results under output_root."""
    if composed.task.name:
        return
    root = Path(composed.output_root)
    there = sorted({path.parent.name for pattern in ("dataset.yaml", "runs") for path in root.glob(f"*/{pattern}")})
    files = sorted(path for folder in (config_folder(), Path("configs")) for path in (folder / "task").glob("*.yaml"))
    found = [(re.search(r"^name: *(\S+)", path.read_text("utf-8"), re.MULTILINE), path.stem) for path in files]
    options = {name[1].strip("'\""): option for name, option in found if name}
    words = [f"+task={options[name]}" if name in options else f"task.name={name}" for name in there]
    listed = f"there are {', '.join(words)}" if words else "there is none yet"
    raise UsageError(f"status of which task? In {root} {listed}")


def check_run_folder(settings: Any) -> None:
    """Raise `UsageError` if the absolute path of output_root holds `${`, which Hydra would read as a reference."""
    folder = Path.cwd() / getattr(settings, "output_root", "outputs")
    if "${" in str(folder):
        raise UsageError(f"output_root must not hold '${{' (Hydra would read it as a reference), got {str(folder)!r}")
