"""Completion of command lines by the Tab key: verbs, keys, groups of YAML files and the words that a key allows.

`eval "$(segfw -sc install=bash)"` lets bash ask `segfw -sc query=bash` for each word, with the line so far in
COMP_LINE and the place in it in COMP_POINT. Nothing is composed and no stage is loaded: an answer comes at once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segfw.command_line import VALUED_FLAGS, VERBS, Verb
from segfw.config import Key
from segfw.core.errors import UsageError
from segfw.core.settings.schema import ExperimentSettings

Groups = Mapping[str, Sequence[str]]
"""Group of YAML files -> the names that it offers."""

WITH_PLUS = ("task",)
"""Groups without a default, which are chosen with a plus."""
FLAGS = ("--help", "--version", "--multirun", *VALUED_FLAGS)
PROGRAM = "segfw"

SCRIPT = """\
_segfw_complete() {
  local line="${COMP_LINE:0:COMP_POINT}" program IFS=$'\\n'
  local word="${line##* }"
  case "${COMP_WORDS[0]}" in
    *python*) [[ "${COMP_WORDS[1]} ${COMP_WORDS[2]}" == "-m segfw" ]] || return 0
      program=("${COMP_WORDS[@]:0:3}") ;;
    *) program=("${COMP_WORDS[0]}") ;;
  esac
  COMPREPLY=($(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" "${program[@]}" -sc query=bash 2>/dev/null))
  if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
    COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}")
  fi
}
complete -o nospace -o default -F _segfw_complete """


def answer(words: Sequence[str], folders: Iterable[Path], environment: Mapping[str, str], python: str | None) -> str:
    """Return what `-sc install=bash` or `-sc query=bash` prints.

    `folders`: of YAML files; `python`: the interpreter's name where the program was started with `-m`, whose command
    lines are completed as well then.
    """
    if list(words) == ["install=bash"]:
        return SCRIPT + " ".join((PROGRAM, *((python,) if python else ()))) + "\n"
    if list(words) == ["query=bash"]:
        line = environment.get("COMP_LINE", "")
        point = environment.get("COMP_POINT", "")
        return "".join(f"{each}\n" for each in complete(line[: int(point)] if point.isdecimal() else line, folders))
    raise UsageError(f"-sc takes install=bash or query=bash, got {' '.join(words)!r}")


def complete(line: str, folders: Iterable[Path]) -> list[str]:
    """Return, sorted, what the last word of a command line may become; a word that ends in = or . is still to go on."""
    before, word = re.fullmatch(r"(.*\s)?(\S*)", line, re.DOTALL).groups("")  # type: ignore[union-attr]
    words = _arguments(before.split())
    if words is None:
        return []
    named = words[0] if words and words[0] in VERBS else None
    verb = VERBS[named or "experiment"]
    groups = choices_in(folders) if ExperimentSettings in (verb.settings, verb.page) else {}
    if word.startswith("-"):
        return sorted(flag for flag in FLAGS if flag.startswith(word))
    if "=" in word:
        return _values(word, verb.keys, groups)
    verbs = [] if words else [name for name in VERBS if name.startswith(word)]
    return sorted({*verbs, *_keys(word, verb, groups)})


def choices_in(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Return the groups of YAML files below `folders`, with the names that each offers."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/**/*.yaml"):
            found.setdefault(path.parent.relative_to(folder).as_posix(), set()).add(path.stem)
    return {group: sorted(names) for group, names in found.items() if group not in ("schema", "hydra/job_logging")}


def _arguments(words: Sequence[str]) -> list[str] | None:
    """Return what follows the program's name and is no flag; None where the program is another."""
    if not words:
        return None
    start = 3 if words[1:3] == ["-m", PROGRAM] else 1
    if start == 1 and "python" in Path(words[0]).name:
        return None
    return [each for each in words[start:] if not each.startswith("-")]


def _keys(word: str, verb: Verb, groups: Groups) -> list[str]:
    """Return the keys and groups that begin with `word`, one level of dots at a time."""
    plus = re.match(r"\+*", word)
    signs, start = word[: plus.end()], word[plus.end() :]  # type: ignore[union-attr]
    found = {f"{signs}{group}=" for group in groups if group.startswith(start) and (group not in WITH_PLUS or signs)}
    found |= {f"+{group}=" for group in WITH_PLUS if not signs and group in groups and group.startswith(start)}
    for key in verb.keys:
        if key.dotted.startswith(start) and "." not in key.dotted[len(start) :]:
            found.add(f"{signs}{key.dotted}{'.' if key.node or key.free else '='}")
    return sorted(found)


def _values(word: str, keys: Iterable[Key], groups: Groups) -> list[str]:
    """Return the word with each value that its group or key offers; after a comma or bracket, of one more value."""
    name, _, value = word.partition("=")
    lead = re.match(r"(?:.*[,\[])?", value)
    given = value[: lead.end()]  # type: ignore[union-attr]
    bare = name.lstrip("+")
    offered = groups.get(bare) or next((key.words for key in keys if key.dotted == bare), ())
    return [f"{name}={given}{each}" for each in offered if each.startswith(value[len(given) :])]
