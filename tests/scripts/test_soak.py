"""Commands that are killed: five times in earnest, and what the judging finds where something is wrong."""

import os
import random
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scripts import soak
from scripts.soaking.judging import damaged, differences, remains
from scripts.soaking.killing import Ended, Manner, running
from scripts.soaking.nursery import Nursery
from scripts.soaking.record import TEMPLATE, Kill, Outcome, told
from scripts.soaking.works import MAIN_STAGES, Work, works, write_dataset
from segfw.training.checkpoints import load_checkpoint

WORK = Work("main", ("output_root={out}", "a=1"), MAIN_STAGES)


@pytest.mark.slow
def test_five_kills_lose_nothing(tmp_path: Path) -> None:
    """From raw images to a trained fold; `scripts/soak.py` itself goes on to the report."""
    write_dataset(tmp_path / "data")
    whole = works(tmp_path / "data", tmp_path)["main"]
    work = replace(whole, words=(*whole.words, "stages=[fingerprint,plan,preprocess,train]"))
    nursery = Nursery()
    try:
        reference = soak.undisturbed(work, tmp_path / "reference", nursery)
    finally:
        nursery.close()
    rounds = soak.soak({"main": work}, {"main": reference}, tmp_path, kills=5, seed=6, jobs=1)
    assert [loss for each in rounds for loss in each.lost] == []
    assert sum(len(each.kills) for each in rounds) >= 5


@pytest.mark.slow
def test_a_job_of_slurm_saves_and_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, checkpoint = (
        tmp_path / "asked",
        tmp_path / "out/Soak/runs/main/default/planned/3d_fullres/fold_0/checkpoints",
    )
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!{sys.executable}\nimport sys\nopen({str(asked)!r}, 'a').write(' '.join(sys.argv[1:]))\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    write_dataset(tmp_path / "data")
    whole = works(tmp_path / "data", tmp_path)["main"]
    rarely = ("trainer.max_epochs=1000", "trainer.limit_train_batches=500", "trainer.checkpoint_minutes=10")
    keys = {word.split("=")[0] for word in rarely}
    kept = tuple(word for word in whole.words if word.split("=")[0] not in keys)
    with running(Work("long", (*kept, *rarely), MAIN_STAGES), tmp_path / "out") as command:
        while not (checkpoint.parent / "progress.json").exists():
            assert not command.wait(0.1), command.said
        command.send(signal.SIGUSR1, to_all=True)
        assert command.wait(30), command.said
        assert command.process.returncode == 143, command.said
        assert "SLURM queues job 12 again" in command.said
    assert asked.read_text() == "requeue 12"
    content = load_checkpoint(checkpoint / "last.ckpt")
    assert (content["epoch"], 0 < content["global_step"] < 500) == (0, True)
    assert remains(tmp_path / "out") == []


def test_stages_are_told_by_what_is_said() -> None:
    said = ["settings: a=1", "splits: wrote x", "some more", "train 3d_fullres fold 0: finished after 3 epochs"]
    assert [WORK.stage(number) for number in WORK.stages_of(said)] == ["dataset", "fingerprint", "before a fold"]
    assert WORK.words_for(Path("there")) == ["output_root=there", "a=1"]


@pytest.mark.parametrize(("end", "rounds"), [(float("inf"), 4), (0.0, 0)])
def test_rounds_go_on_until_there_were_enough_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: float, rounds: int
) -> None:
    class Nothing:
        def close(self) -> None: ...

    def play(work: Work, reference: soak.Reference, output: Path, number: int, *_: object) -> soak.Round:
        return soak.Round(number, work.name, [Kill(work.name, 0, "starting", "SIGKILL", -9, 0.1, number)] * 3)

    monkeypatch.setattr(soak, "Nursery", Nothing)
    monkeypatch.setattr(soak, "play", play)
    references = {"main": soak.Reference(tmp_path, 1.0, (1.0,))}
    done = soak.soak({"main": WORK}, references, tmp_path, kills=10, seed=0, jobs=1, end=end)
    assert [each.number for each in done] == list(range(rounds))  # 3 kills each


def test_moments_lie_within_the_command() -> None:
    reference = soak.Reference(Path(), 10.0, (4.0, 6.0))
    moments = [soak.draw_moment(random.Random(seed), reference) for seed in range(200)]
    assert {moment.stage for moment in moments} == {0, 1}
    assert all(0 <= m.seconds <= (10.0 if m.stage == 0 else 6.0) for m in moments)
    assert soak.draw_moment(random.Random(7), reference) == moments[7]


def test_files_that_are_cut_off_are_found(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, tmp_path / "last.ckpt")
    (tmp_path / "whole.json").write_text('{"a": 1}')
    assert damaged(tmp_path) == []
    content = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(content[: len(content) // 2])
    (tmp_path / "half.json").write_text('{"a": ')
    (tmp_path / ".tmp-12345678-other.json").write_text('{"a": ')
    assert sorted(line.split(":")[0] for line in damaged(tmp_path)) == ["half.json", "last.ckpt"]
    (tmp_path / ".locks").mkdir()
    assert remains(tmp_path) == [".tmp-12345678-other.json"]
    (tmp_path / ".locks" / "run.lock").touch()
    assert remains(tmp_path) == [".locks/run.lock", ".tmp-12345678-other.json"]


def test_what_differs_is_found(tmp_path: Path) -> None:
    for name, weight, loss in (("one", 1.0, "0.5"), ("two", 1.0, "0.5000001"), ("three", 1.0000001, "0.51")):
        run = tmp_path / name / "Soak/runs/main/fold_0"
        (run / "checkpoints").mkdir(parents=True)
        content = {"state_dict": {"w": torch.tensor([weight])}, "epoch": 2, "training_seconds": hash(name)}
        torch.save(content, run / "checkpoints" / "last.ckpt")
        (run / "metrics.csv").write_text(f"epoch,train/loss,seconds\n0,{loss},{len(name)}\n")
    assert differences(tmp_path / "one", tmp_path / "two") == []
    found = ["Soak/runs/main/fold_0/checkpoints/last.ckpt differs", "Soak/runs/main/fold_0/metrics.csv differs"]
    assert differences(tmp_path / "one", tmp_path / "three") == found
    (tmp_path / "two/Soak/splits.json").write_text("[]")
    assert differences(tmp_path / "one", tmp_path / "two") == ["Soak/splits.json is there only once"]


@pytest.mark.parametrize(
    ("ended", "found"),
    [
        (Ended(143, 3, 1.0, ""), []),
        (Ended(-signal.SIGTERM, 0, 1.0, ""), []),
        (Ended(1, 3, 1.0, "why"), ["status 1 after SIGTERM:\nwhy"]),
        (Ended(143, 3, 1.0, "", left=("7 python",)), ["7 python still ran after SIGTERM"]),
        (Ended(-9, 3, 1.0, "where", hung=True), ["hung after SIGTERM:\nwhere"]),
    ],
)
def test_a_kill_is_judged(tmp_path: Path, ended: Ended, found: list[str]) -> None:
    assert soak.judge_kill(ended, Manner(signal.SIGTERM), tmp_path) == found


def test_the_table_counts_what_was_tried_and_survived() -> None:
    kills = [
        Kill("main", 6, "training", "SIGKILL", -9, 0.1, 0),
        Kill("main", 0, "starting", "SIGTERM", 143, 0.1, 1),
        Kill("main", 6, "training", "SIGKILL", -9, 0.1, 1),
    ]
    table = told(Outcome(tuple(kills), 2, ("round 1 (main): a file differs",), 60))
    assert table.splitlines()[2:] == [
        "| main | starting |  | 0 / 1 | 0 / 1 |",
        "| main | training | 1 / 2 |  | 1 / 2 |",
        "| all |  | 1 / 2 | 0 / 1 | 1 / 3 |",
    ]


def test_the_page_is_the_template_with_its_facts() -> None:
    words = re.split(r"\{(\w+)\}", TEMPLATE.read_text(encoding="utf-8"))
    named: set[str] = set()
    pattern = re.escape(words[0])
    for fact, text in zip(words[1::2], words[2::2], strict=True):
        pattern += (f"(?P={fact})" if fact in named else f"(?P<{fact}>.+?)") + re.escape(text)
        named.add(fact)
    page = Path(__file__).parents[2] / "docs" / "reliability.md"
    assert re.fullmatch(pattern, page.read_text(encoding="utf-8"), re.DOTALL)
