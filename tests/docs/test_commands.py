"""Every command of the README and the site is one that the program takes, or is named here with the reason why not."""

import re
from pathlib import Path

import pytest

from segfw import config
from segfw.__main__ import MAIN
from segfw.command_line import VERBS, parse_command
from segfw.composition import compose, register_schemas
from tests.docs.pages import PAGES, ROOT, blocks, commands, segfw_words

LANGUAGES = ("", "bash", "python", "yaml", "text")
NOT_RUN = {
    "docker build": "needs a daemon of Docker and a package index; the Dockerfile is linted (tests/test_release.py)",
    "eval": "changes the shell it is typed in; tests/test_completion.py runs what it evaluates",
    "export RAY_AUTH_MODE": "sets a variable; tests/stages/test_ray_nodes.py starts a cluster",
    "mlflow ui": "a server of another program, on files that tests/tracking makes",
    "python -m pytest": "tests/docs/test_running.py runs these of docs/extend.md",
    "pip install": "needs a package index",
    "ray start": "a cluster; tests/stages/test_ray_nodes.py starts one",
    "source .venv/bin/activate": "changes the shell it is typed in",
    "tensorboard": "a server of another program, on files that tests/tracking makes",
    "wandb": "needs an account; tests/sweeps reads the sweep's file",
    "./scripts/test": "is what runs this",
    "mkdocs build": "tests/docs/test_site.py builds the site",
}
FILES = {  # that the pages' readers have written by themselves
    "task/Mine.yaml": "name: Mine\nfolder: Mine\nlabels: {background: 0, tumor: 1}\n",
    "experiment/best_fast.yaml": "# @package _global_\nname: best_fast\n",
}
ALL = [(place, words) for page in PAGES for place, words in commands(page)]
PLACE = re.compile(r"(model|input|output|source|predictions|references|images|task\.folder)=.*")
OF_SEGFW = {  # those that differ in a path only once, since a composition takes a third of a second
    tuple(PLACE.sub(r"\1=place", word) for word in given): (place, given)
    for place, words in ALL
    if (given := segfw_words(words)) is not None
}
KEY = re.compile(r"`['\"]?\+{0,2}([a-z_]+(?:\.[a-z_0-9]+)+)(?:=[^`]*)?`")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with the files that pages tell their readers to write."""
    named = {
        first.removeprefix("# configs/"): block.text
        for page in PAGES
        for block in blocks(page, "yaml")
        if (first := block.text.splitlines()[0]).startswith("# configs/")
    }
    for name, text in (FILES | named).items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_program_takes_every_command(written: None) -> None:
    register_schemas()
    wrong = {}
    for place, words in OF_SEGFW.values():
        try:
            command = parse_command([word.replace("model_sha256=...", f"model_sha256={'0' * 64}") for word in words])
            verb = VERBS[command.verb or MAIN]
            if "--shell-completion" in command.flags or (command.help and command.verb is None):
                continue
            found, _, _ = compose(verb, command.verb or MAIN, command)
            if not command.help:
                config.load(verb.settings, found, verb.page)
        except Exception as error:
            wrong[f"{place} {' '.join(words)}"] = str(error)
    assert wrong == {}
    assert len(OF_SEGFW) > 60


def test_what_is_no_command_of_segfw_is_there_or_is_known_not_to_run_here() -> None:
    used, unknown = set(), []
    for place, words in ALL:
        line = " ".join(words)
        reason = next((start for start in NOT_RUN if line.startswith(start)), None)
        if reason:
            used.add(reason)
        elif words[0] == "python" and words[1] != "-m":
            unknown += [] if _is_there(words) else [f"{place} {line}"]
        elif words[:2] == ["python", "-m"] and words[2].startswith("scripts."):
            module = f"{words[2].replace('.', '/')}.py"
            unknown += [] if _is_there(["python", module, *words[3:]]) else [f"{place} {line}"]
        elif segfw_words(words) is None:
            unknown.append(f"{place} {line}")
    assert unknown == []
    assert used == NOT_RUN.keys() - {"mkdocs build"}


def _is_there(words: list[str]) -> bool:
    """Whether a script is of this repository and knows its options, or is a file that a page shows whole."""
    script = ROOT / words[1]
    shown = [block.text.splitlines()[0] for page in PAGES for block in blocks(page, "python")]
    if not script.is_file():
        return f"# {words[1]}" in shown
    text = "".join(path.read_text(encoding="utf-8") for path in script.parent.rglob("*.py"))
    return all(f'"{word}"' in text for word in words[2:] if word.startswith("--"))


def test_every_block_says_what_it_is() -> None:
    languages = {match for page in PAGES for match in re.findall(r"^ *```(\w+)$", page.read_text(), re.MULTILINE)}
    assert languages <= {*LANGUAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_key_that_a_page_names_is_one(page: Path) -> None:
    known = {key.dotted: key for verb in VERBS.values() for key in verb.keys}
    free = tuple(f"{name}." for name, key in known.items() if key.free)
    roots = {name.split(".")[0] for name, key in known.items() if key.node or key.free}
    named = {key for key in KEY.findall(page.read_text(encoding="utf-8")) if key.split(".")[0] in roots}
    files = (".py", ".md", ".json", ".yaml", ".csv", ".npy", ".zip", ".gz", ".txt", ".pkl")
    assert [key for key in named if key not in known and not key.startswith(free) and not key.endswith(files)] == []


def test_a_command_that_the_program_does_not_take_is_found(written: None) -> None:
    register_schemas()
    command = parse_command(["+task=Task04", "trainer.max_epoch=3"])
    with pytest.raises(Exception, match=r"did you mean 'trainer\.max_epochs'"):
        compose(VERBS[MAIN], MAIN, command)
