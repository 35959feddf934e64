"""What a command line says, before Hydra reads it: the verb, the flags, the overrides, and paths made literal."""

import argparse
import platform
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import NoReturn

from segfw.config import Key, keys
from segfw.core.errors import UsageError
from segfw.core.settings.choices import unknown_choice
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.verbs import (
    CompareSettings,
    DownloadSettings,
    EvaluateSettings,
    ExportSettings,
    ImportSettings,
    InitSettings,
    PredictSettings,
    VerificationSettings,
)
from segfw.core.support.references import escape_references
from segfw.core.version import __version__

ARGUMENTS = re.compile(r"^\+{0,2}(?=(?:network|loss)\.arguments\.|hydra\.sweeper\.params\.)")
SEARCHED = re.compile(r"\+{0,2}(hydra\.sweeper\.(?:storage|params\.[^=]+))=(?!['\"])")
VALUED_FLAGS = {"--config-dir": "-cd", "--config-name": "-cn", "--cfg": "-c", "--package": "-p", "--info": "-i"}
PACKAGES = {"PyTorch": "torch", "Lightning": "pytorch-lightning", "Hydra": "hydra-core"}
"""Title -> name, of the packages whose versions `--version` tells."""
USAGE = "python -m segfw [VERB] [KEY=VALUE ...]"


@dataclass(frozen=True)
class Verb:
    """One thing the program does.

    `job`: `module:function`, imported only when it runs; `required`: keys without default; `page`: the settings that
    its YAML page holds, where the job takes only some of them.
    """

    summary: str
    settings: type
    job: str
    example: str
    required: tuple[str, ...] = ()
    page: type | None = None

    @property
    def keys(self) -> list[Key]:
        """Every key that may be given."""
        return list(keys(self.page or self.settings))


VERBS = {
    "experiment": Verb(
        "every stage, from raw images to a selected, packaged model (the default)",
        ExperimentSettings,
        "segfw.stages.pipeline:run",
        "python -m segfw +task=Task04",
    ),
    "predict": Verb(
        "segment new images with a packaged model",
        PredictSettings,
        "segfw.stages.prediction.predict:run",
        "python -m segfw predict model=PATH input=PATH output=PATH",
        ("model", "input", "output"),
    ),
    "export": Verb(
        "write a packaged model as one .zip, for onnxruntime, or for nnU-Net",
        ExportSettings,
        "segfw.stages.models.export:run",
        "python -m segfw export model=PATH format=onnx output=PATH",
        ("model", "format", "output"),
    ),
    "import": Verb(
        "make a packaged model of one that nnU-Net v2 has trained",
        ImportSettings,
        "segfw.stages.models.import_model:run",
        "python -m segfw import source=FOLDER_OR_ZIP output=MODEL_FOLDER",
        ("source", "output"),
    ),
    "evaluate": Verb(
        "score segmentations against references",
        EvaluateSettings,
        "segfw.stages.inspection.evaluate:run",
        "python -m segfw evaluate predictions=DIR references=DIR",
        ("predictions", "references"),
    ),
    "compare": Verb(
        "set finished runs side by side: settings that differ, metrics, a paired test per case",
        CompareSettings,
        "segfw.stages.inspection.compare:run",
        "python -m segfw compare runs=[RUN,RUN,...]",
        ("runs",),
    ),
    "init": Verb(
        "describe two folders of images and label maps as a task",
        InitSettings,
        "segfw.stages.dataset.init:run",
        "python -m segfw init images=DIR labels=DIR name=Mine modality=CT",
        ("images", "labels", "name"),
    ),
    "verify": Verb(
        "check every image and label map of a dataset; exit status 1 if there is an error",
        VerificationSettings,
        "segfw.stages.dataset.verify:run",
        "python -m segfw verify +task=Task04",
        page=ExperimentSettings,
    ),
    "download": Verb(
        "fetch, check and unpack a dataset",
        DownloadSettings,
        "segfw.stages.dataset.download:run",
        "python -m segfw download +task=Task04",
        page=ExperimentSettings,
    ),
    "status": Verb(
        "tell what is done, running, failed or stale, and why; writes nothing",
        ExperimentSettings,
        "segfw.stages.inspection.status:run",
        "python -m segfw status +task=Task04",
    ),
    "report": Verb(
        "build the HTML report again from what is on disk",
        ExperimentSettings,
        "segfw.stages.reporting.report:run",
        "python -m segfw report +task=Task04",
    ),
}


@dataclass(frozen=True)
class Command:
    """A command line taken apart.

    `flags`: Hydra's own that are handed on; `overrides`: keys and values, paths quoted; `informs`: a question to Hydra.
    `network.arguments.x` and `loss.arguments.x` are there for some networks and losses only; they may be given with or
    without a plus, and so may `hydra.sweeper.params.x`. `words`: the command line as it was typed.
    """

    verb: str | None
    flags: tuple[str, ...]
    overrides: tuple[str, ...]
    help: bool = False
    version: bool = False
    multirun: bool = False
    informs: bool = False
    config_dir: str | None = None
    config_name: str | None = None
    words: tuple[str, ...] = ()


class JobFailed(Exception):
    """A job of a sweep has failed and has said why (arguments: exit status, message); the other jobs go on."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see python -m segfw --help")


def parse_command(arguments: Sequence[str]) -> Command:
    """Take a command line apart. `verb` is None where it was not given; `UsageError` for one that does not exist."""
    verb, words = None, arguments
    if arguments and not re.search(r"[=+]|^[-~]", arguments[0]):
        verb, *arguments = arguments
        if verb not in VERBS:
            raise unknown_choice("verb", verb, VERBS)
    known, rest = _flag_parser().parse_known_args(list(arguments))
    unreadable = [word for word in rest if "=" not in word and not word.startswith(("-", "~"))]
    if unreadable:
        raise UsageError(f"cannot read {unreadable[0]!r}; settings are given as key=value, see python -m segfw --help")
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        raise UsageError(f"unknown option {unknown[0]!r}; settings are given as key=value, see python -m segfw --help")
    valued = dict(known.valued or ())
    folder, page = valued.pop("--config-dir", None), valued.pop("--config-name", None)
    flags = [*(known.switches or ()), *(f"{name}={value}" for name, value in valued.items())]
    keys = VERBS[verb or "experiment"].keys
    literal = [key.dotted for key in keys if key.literal]
    literal += [found[1] for found in map(SEARCHED.match, rest) if found]  # a range is no sweep of Hydra's own keys
    listed = [key.dotted for key in keys if key.literal and key.listed]
    return Command(
        verb=verb,
        flags=(*flags, *(["--multirun"] if known.multirun else [])),
        overrides=tuple(ARGUMENTS.sub("++", word, count=1) for word in quote_literals(rest, literal, listed)),
        help=known.help,
        version=known.version,
        multirun=known.multirun,
        informs="--hydra-help" in flags,
        config_dir=folder,
        config_name=page,
        words=tuple(words),
    )


def quote_literals(
    overrides: Iterable[str], literal_keys: Iterable[str], listed_keys: Collection[str] = ()
) -> list[str]:
    """Quote the values of `literal_keys` for Hydra, so that every character of them means itself.

    `null` stays Hydra's null; a file of that name is `./null`. Of `listed_keys` the value is a list (see `split_list`).
    """
    pattern = re.compile(rf"((?:\+\+?)?(?:{'|'.join(map(re.escape, literal_keys))}))=(.*)", re.DOTALL)
    quoted = []
    for override in overrides:
        match = pattern.fullmatch(override)
        if match and match[2] != "null":
            key, value = match[1], match[2]
            is_list = key.lstrip("+") in listed_keys
            override = f"{key}=[{','.join(map(quote, split_list(value)))}]" if is_list else f"{key}={quote(value)}"
        quoted.append(override)
    return quoted


def split_list(text: str) -> list[str]:
    """Take `[A,B,...]` apart into its texts; what has no such brackets is one text.

    A comma ends a text, and blanks around it mean nothing. A text that is quoted as a whole, '...' or "...", may hold
    commas and begin or end with blanks; else quotes, brackets and backslashes mean themselves.
    """
    inside = re.fullmatch(r"\[(.*)\]", text, re.DOTALL)
    if inside is None:
        return [text]
    if not inside[1].strip():
        return []
    found = re.findall(r"""\s*(?:'([^']*)'|"([^"]*)"|([^,]*?))\s*,""", inside[1] + ",")
    return ["".join(texts) for texts in found]


def quote(text: str) -> str:
    """Return `text` as a quoted Hydra value that comes out of composition as it went in.

    Two grammars read it: OmegaConf's references, and Hydra's quotes. Hydra ends at the next quote unless a backslash
    precedes it, and then halves the backslashes before that one.
    """
    if text == "???":  # OmegaConf's mark of a missing value, which cannot be escaped
        text = "./???"
    text = escape_references(text)
    text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    text = re.sub(r"\\+$", lambda found: found[0] * 2, text)
    return f"'{text}'"


def overview() -> str:
    """Return the help of the whole program: its verbs and how to learn more."""
    lines = [f"usage: {USAGE}", "", "verbs:"]
    lines += [f"  {name:<12}{verb.summary}" for name, verb in VERBS.items()]
    lines += [
        "",
        "examples:",
        *(f"  {verb.example}" for verb in VERBS.values()),
        "",
        "python -m segfw VERB --help lists the settings of a verb with their values.",
        "-m runs once for each of several values, such as -m folds=0,1,2; --config-dir adds a folder of YAML files.",
        "--version tells the versions of segfw and of what it runs on.",
    ]
    return "\n".join(lines)


def versions() -> str:
    """Return the versions that a report of a fault needs, on one line; no package is loaded for it."""
    packages = ", ".join(f"{title} {version(name)}" for title, name in PACKAGES.items())
    return f"segfw {__version__} (Python {platform.python_version()}, {packages})"


def _named(name: str, value: str) -> tuple[str, str]:
    return name, value


def _flag_parser() -> _Parser:
    parser = _Parser(prog="segfw", add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    for names in (("--run", "-r"), ("--resolve",), ("--hydra-help",), ("--shell-completion", "-sc")):
        parser.add_argument(*names, dest="switches", action="append_const", const=names[0])
    for long, short in VALUED_FLAGS.items():
        parser.add_argument(long, short, dest="valued", action="append", type=partial(_named, long))
    return parser
