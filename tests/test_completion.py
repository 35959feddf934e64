"""Completion of command lines: what is offered, and that bash gets it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from segfw.command_line import VERBS
from segfw.completion import FLAGS, WITH_PLUS, answer, choices_in, complete
from segfw.core.errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs"
ROOT = CONFIGS.parent


def offered(line):
    return complete(line, [CONFIGS])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("segfw +ta", ["+tags=", "+task.", "+task="]),
        ("segfw ta", ["+task=", "tags=", "task."]),
        ("segfw pre", ["predict", "pretrained."]),
        ("segfw +task=Task04 pre", ["pretrained."]),
        ("segfw trainer.max_", ["trainer.max_epochs=", "trainer.max_time="]),
        ("segfw network", ["network.", "network="]),
        ("segfw network=u", ["network=unet", "network=unet_plus_plus"]),
        ("segfw -m network=vnet,unet_", ["network=vnet,unet_plus_plus"]),
        ("segfw folds=0 debug=", ["debug=fdr", "debug=overfit", "debug=profile"]),
        ("segfw experiment=[fast,sm", ["experiment=[fast,smoke"]),
        ("segfw verify +task=De", ["+task=Demo"]),
        ("segfw overwrite=", ["overwrite=true", "overwrite=false"]),
        ("segfw trainer.strategy=d", ["trainer.strategy=ddp", "trainer.strategy=ddp_find_unused_parameters_true"]),
        ("segfw predict accelerator=c", ["accelerator=cpu", "accelerator=cuda"]),
        ("segfw predict netw", []),
        ("segfw compare ", ["group_pattern=", "output=", "runs="]),
        ("segfw --m", ["--multirun"]),
        ("segfw predict --v", ["--version"]),
        ("segfw optimizer.lr=", []),
        ("segfw nothing", []),
        ("python -m segfw pred", ["predict"]),
        ("/venv/bin/python3 -m segfw folds", ["folds="]),
        ("python train.py pred", []),
        ("python", []),
        ("", []),
    ],
)
def test_a_word_is_completed(line, words):
    assert offered(line) == words


def test_the_first_word_may_be_any_verb_or_key():
    assert {*VERBS, "+task=", "trainer.", "seed="} <= set(offered("segfw "))
    assert offered("segfw -") == sorted(FLAGS)


def test_groups_of_the_users_own_are_offered(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "Mine.yaml").write_text("name: Mine\n")
    assert complete("segfw +task=Mi", [CONFIGS, tmp_path]) == ["+task=Mine"]
    assert complete("segfw +task=Mi", [CONFIGS, tmp_path / "absent"]) == []


def test_only_groups_without_a_default_take_a_plus():
    defaults = (CONFIGS / "experiment.yaml").read_text(encoding="utf-8")
    groups = [group for group in choices_in([CONFIGS]) if "/" not in group]
    assert [group for group in groups if f"- {group}: " not in defaults] == list(WITH_PLUS)


def test_nothing_else_is_asked():
    with pytest.raises(UsageError, match="install=bash or query=bash, got 'install=fish'"):
        answer(["install=fish"], [], {}, None)


def bash(line, setup):
    """Return what bash offers for the last word of `line`, cut into words as bash does it."""
    words = [part for word in line.split(" ") for part in word.replace("=", " = ").split(" ")]
    script = f"""
        {setup}
        COMP_LINE={line!r} COMP_POINT={len(line)} COMP_WORDS=({" ".join(map(repr, words))}) COMP_CWORD={len(words) - 1}
        _segfw_complete
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    return done.stdout.split()


def test_bash_completes_what_is_started_as_a_module():
    program = f"{sys.executable} -m segfw"
    assert bash(f"{program} network=unet_", f'eval "$({program} -sc install=bash)"') == ["unet_plus_plus"]


def test_bash_completes_the_console_script():
    program = Path(sys.executable).with_name("segfw")
    if not program.exists():
        pytest.skip(f"there is no console script {program}: the package is not installed")
    setup = f'eval "$({program} -sc install=bash)"; complete -p segfw >/dev/null'
    assert bash(f"{program} +task=Task04 pred", setup) == []
    assert bash(f"{program} predi", setup) == ["predict"]


def test_other_programs_of_the_interpreter_are_left_to_bash():
    setup = answer(["install=bash"], [], {}, "python")
    assert setup.endswith(" segfw python\n")
    assert bash("python train.py pred", setup) == []


def test_an_answer_waits_for_neither_pytorch_nor_lightning():
    command = [sys.executable, "-X", "importtime", "-m", "segfw", "-sc", "query=bash"]
    environment = {**os.environ, "COMP_LINE": "segfw exper", "COMP_POINT": "11"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, check=True, env=environment)
    assert done.stdout.split() == ["experiment", "experiment="]
    assert not re.search(r"\b(torch|pytorch_lightning|SimpleITK|matplotlib|wandb)\b", done.stderr)
