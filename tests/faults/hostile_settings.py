"""Command lines as nobody should type them: any key of any verb with any value, and words that are no setting.

`answer` runs the program up to the place where a job would begin.
"""

import copy
import io
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from segfw import __main__ as program
from segfw import config
from segfw.command_line import VERBS, parse_command
from segfw.core.errors import UsageError

# fmt: off
NUMBERS = (
    "0", "-1", "1", "2", "0.5", "1e400", "-1e400", "1e308", "1e-320", "nan", "inf", "-inf", "9" * 400, "0x10", "1_0",
)
WORDS = (
    "null", "true", "false", "''", '""', "' '", "auto", "all", "none", "x", "é", "日本", "\U0001f600", "a b", "\x00",
    "\n", "\t", "a" * 10_000, "\\", "'", '"', "'a", "\ud800", "/", "..", "../../x", "/dev/null", "~", "%s", "{}", "(",
    "*",
)
REFERENCES = (
    "${", "${}", "${x}", "${.x}", "${..seed}", "${oc.env:HOME}", "${oc.env:NO_SUCH_VARIABLE}", "${oc.env:}", "$", "$$",
    "${oc.decode:x}", "${oc.create:{a:1}}", "${oc.select:x,1}", "${oc.select:x}", "${same:1}", "${nope:1}", "${seed}",
    "${oc.dict.keys:trainer}", "${hydra:runtime.cwd}", "${now:%Y}", "\\${x}", "???", "${task}", "${.}", "${a:${b:}}",
)
CONTAINERS = (
    "[]", "{}", "[[]]", "[null]", "[1,2]", "[a,b]", "[1,[2,[3]]]", "{a:1}", "{a:{b:{c:1}}}", "{1:2}", "{null:1}",
    "[{}]", "[nan,inf]", "[" * 50 + "]" * 50, "{a:${x}}", "[${x}]", "[1.5,2.5,3.5]", "[0,0,0]", "[-1,-1]", "{a:[]}",
    "[true]",
    "{background:0}", "{background:0,a:-1}", "{a:nan}", "[" + "1," * 500 + "1]", "[1,,2]", "{a:1,a:2}", "[1,a]",
)
SWEEPS = (
    "1,2", "a,b", "choice(1,2)", "range(1,3)", "interval(0,1)", "glob(*)", "sort(2,1)", "shuffle(1,2)", "tag(t,1)", ",",
    "int(x)", "float(1e400)", "json_str({})", "bool(x)", "extend_list(1)", "range(1,1)", "range(0,1,0)", "1,",
)
VALUES = (*NUMBERS, *WORDS, *REFERENCES, *CONTAINERS, *SWEEPS)
NO_SETTING = (
    "", "=", "=1", "+", "++", "~", "+=1", "~x", "~seed", "~trainer", "~trainer.devices", "a", "-", "--", "-x", "--x=1",
    "-m", "--multirun", "-c", "-c=job", "--cfg=x", "--info=x", "-p", "--package=a", "--config-name=nope", "-cn=../x",
    "--config-dir=/nope", "--config-dir", "hydra.searchpath=[/nope]", "hydra.searchpath=1", "hydra.searchpath=${x}",
    "network=nope", "network=[unet,vnet]", "network=null", "network=", "+network=unet", "optimizer@x=sgd",
    "network@=unet", "loss=../loss/dice", "planner=/etc/passwd", "+task=nope", "+task=[]", "task=Task04",
    "schema=predict", "logger=x", "hydra=nope", "hydra/launcher=nope", "hydra/sweeper=nope", "hydra.run.dir=1",
    "hydra.job.name=${x}", "hydra.x=1", "hydra.sweeper.params.x=1", "hydra.mode=RUN", "hydra.mode=x", "é=1",
    "hydra.verbose=[a]", "trainer.=1", ".trainer=1", "trainer..devices=1", "trainer.devices.x=1", "seed.x=1",
    "seed[0]=1", "trainer[devices]=1", "callbacks.a=1", "network.arguments.x=${x}", "+network.arguments.x=[",
    "++seed=x", "+seed=1", "a=b=c", "seed==1", "seed=1=2", "@=1", "~network", "~network=unet", "network=unet,nope",
)
# fmt: on


@dataclass(frozen=True)
class Answer:
    """What the program said of a command: its exit status, and all it wrote to stderr."""

    status: int
    said: str


@contextmanager
def without_jobs() -> Iterator[None]:
    """Let the program end where a job would begin."""
    with patch.object(program, "_hand_over"), patch.object(program, "_call"):
        yield


def answer(words: list[str]) -> Answer:
    """Run the program with these words, without its job; raises what it lets through."""
    said = io.StringIO()
    with without_jobs(), redirect_stderr(said), redirect_stdout(io.StringIO()):
        status = program.main(words)
    return Answer(status, said.getvalue())


def judge_command(words: list[str], key: str) -> tuple[str, str]:
    """Run a command; return `read`, `refused` or `bug`, and what the program said.

    It is refused by status 2 and a message that names the key, or its group, or just where there is no key.
    """
    found = answer(words)
    if found.status == 0:
        return "read", ""
    is_told = found.status == 2 and found.said.startswith("segfw: ") and "unexpected" not in found.said
    return ("refused" if is_told and _names(found.said, key) else "bug"), f"status {found.status}: {found.said[-2000:]}"


def judge_value(verb: str, key: str, text: str) -> tuple[str, str]:
    """Give a key the value that Hydra reads of a text and check the settings; return as `judge_command` does.

    That is what happens with a whole command, less the search for YAML files, which takes most of its time.
    """
    try:
        command = parse_command([verb, *NEEDED[verb], f"{key}={text}"])
        parsed = OverridesParser.create().parse_overrides(list(command.overrides))
        node = copy.deepcopy(_schema(verb))
        for each in parsed:
            if not each.is_sweep_override():  # left to the whole command
                OmegaConf.update(node, each.key_or_group, each.value(), merge=True, force_add=True)
        config.load(VERBS[verb].settings, node, VERBS[verb].page)
    except OverrideParseException as error:
        return "refused", str(error)
    except config.CompositionError as error:  # from the update: Hydra tells it with the word that was given
        return "refused", str(error)
    except UsageError as error:
        return ("refused" if _names(str(error), key) else "bug"), str(error)
    except Exception:
        return "bug", traceback.format_exc()[-2000:]
    return "read", ""


def judge_settings(kind: str, example: tuple[Any, ...], folder: object = None) -> tuple[str, str]:
    """Judge an example of `SETTINGS`."""
    return judge_value(*example) if kind == "values" else judge_command(*example)


def _names(message: str, key: str) -> bool:
    return any(word in message for word in (key, key.rpartition(".")[2], key.partition(".")[0]))


@cache
def _schema(verb: str) -> DictConfig:
    return config.schema(VERBS[verb].page or VERBS[verb].settings)


# fmt: off
NEEDED = {
    "experiment": ["task.name=Mine"], "status": ["task.name=Mine"], "report": ["task.name=Mine"],
    "verify": ["task.name=Mine"], "download": ["task.name=Mine"], "predict": ["model=m", "input=i", "output=o"],
    "export": ["model=m", "format=zip", "output=o"], "import": ["source=s", "output=o"],
    "evaluate": ["predictions=p", "references=r"], "compare": ["runs=[a,b]"],
    "init": ["images=i", "labels=l", "name=n"],
}
# fmt: on
KEYS = [(verb, key.dotted) for verb in VERBS for key in VERBS[verb].keys]


@st.composite
def values(draw: st.DrawFn) -> tuple[str, str, str]:
    """A verb, one of its keys, and a hostile text for it."""
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    return *draw(st.sampled_from(KEYS)), draw(st.one_of(st.sampled_from(VALUES), st.sampled_from(VALUES), text))


@st.composite
def commands(draw: st.DrawFn) -> tuple[list[str], str]:
    """A command with one hostile setting among those it needs, and its key."""
    verb, key, text = draw(values())
    plus = draw(st.sampled_from(["", "", "", "", "+", "++"]))
    needed = [word for word in NEEDED[verb] if not word.startswith(f"{key}=")]
    flags = draw(st.sampled_from([[], [], [], ["-m"]]))
    return [verb, *needed, f"{plus}{key}={text}", *flags], key


@st.composite
def words(draw: st.DrawFn) -> tuple[list[str], str]:
    """A command with a word that is no setting, or a key that does not exist."""
    verb, key, text = draw(values())
    misspelt = st.builds(lambda end, value: f"{key}{end}={value}", st.text(max_size=5), st.sampled_from(["1", "x"]))
    word = draw(st.one_of(st.sampled_from(NO_SETTING), st.just(text), misspelt))
    return ([verb, *NEEDED[verb], word] if draw(st.booleans()) else [word, *NEEDED[verb]]), ""


SETTINGS: dict[str, st.SearchStrategy[Any]] = {"values": values(), "commands": commands(), "words": words()}
