"""`dry_run=true` beside what the same command then really does, and the one line that ends each stage."""

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import segfw.__main__ as program
from segfw.core.errors import ArtefactError, UsageError
from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.support.locks import hold
from segfw.stages import pipeline
from segfw.training.callbacks import curves_log
from tests.stages.selection.test_select import make_dataset

STAGES = ("fingerprint", "plan", "preprocess", "train", "select", "report")
END = re.compile(r"^(\w+): (wrote (?P<where>\S.*) \(.+\) in [\d.]+ (s|min)|nothing to do, .+ up to date)$")
WORDS = (
    "task.name=Tiny", "data_root=.", "output_root=out", "split.num_folds=2", "configurations=[3d_fullres]",
    "plan.batch_size=2", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.accelerator=cpu",
    "trainer.threads=1", "trainer.enable_progress_bar=false", "inference.mirror=false", "executor.workers=0",
)  # fmt: skip
SHORT = ("folds=[0]", "trainer.max_epochs=1")


@dataclass(frozen=True)
class Told:
    """What the commands said, in their order, and the settings of the last one."""

    dry_at_first: str
    fingerprint: str
    dry: str
    whole: str
    settings: ExperimentSettings


def segfw(*words: str) -> str:
    """Run the program, which must succeed; return what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = program.main([*words, *WORDS])
    assert status == 0, said.getvalue()
    return said.getvalue()


def dry(root: Path, *words: str) -> str:
    """Run the program dry, which must change nothing."""
    before = listing(root)
    said = segfw(*words, "dry_run=true")
    assert listing(root) == before
    return said


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Return every file and folder with time and size; of logs, which this process still holds open, the name alone."""
    states = {str(path): path.stat() for path in sorted(root.rglob("*"))}
    return {name: (0, 0) if name.endswith(".log") else (s.st_mtime_ns, s.st_size) for name, s in states.items()}


def ends(said: str) -> dict[str, list[str]]:
    """Return the lines that end each stage."""
    lines = [line for line in said.splitlines() if END.match(line)]
    return {stage: [line for line in lines if line.startswith(f"{stage}: ")] for stage in STAGES}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Run the command dry, its first stage, dry again, then the whole of it, all in the folder of the dataset."""
    root, before = tmp_path_factory.mktemp("dry_run"), Path.cwd()
    make_dataset(root / "Tiny")
    settings: list[ExperimentSettings] = []
    call, handlers = program._call, logging.getLogger().handlers[:]

    def note(verb, given):  # type: ignore[no-untyped-def]
        settings.append(given)
        return call(verb, given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 1000)
        patch.setattr(curves_log, "draw_curves", lambda rows, path: path.write_bytes(b""))
        patch.setattr("segfw.training.throughput.SECONDS", 0.0)
        patch.setattr(program, "_call", note)
        os.chdir(root)
        said = [dry(root, *SHORT), segfw(*SHORT, "stages=fingerprint"), dry(root, *SHORT), segfw(*SHORT)]
        yield Told(*said, settings=settings[-1])
    os.chdir(before)
    logging.getLogger().handlers[:] = handlers


def again(told: Told, caplog: pytest.LogCaptureFixture, **changes: object) -> str:
    """Run the job itself with changed settings; return what it said."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        pipeline.run(replace(told.settings, **changes))  # type: ignore[arg-type]
    return "\n".join(caplog.messages)


def test_before_anything_is_there_it_says_what_can_be_known(told: Told) -> None:
    said = told.dry_at_first
    assert "folds: out/Tiny/splits.json would be written (2 folds)" in said
    assert "fingerprint: would run: waiting, not there yet; reads 4 cases" in said
    assert "preprocess and train: would run; what, and at what cost, cannot be known before those" in said
    assert len(ends(told.fingerprint)["fingerprint"]) == 1


def test_with_a_fingerprint_it_says_what_the_plan_will_cost(told: Told) -> None:
    said = told.dry
    assert "fingerprint: would be skipped: done, " in said
    assert "plan: would run: waiting, not there yet" in said
    assert "preprocess: would run: 3d_fullres, 4 of 4 cases; 4 cases such as ann, bob, cyd: not there yet" in said
    assert "train: 3d_fullres fold 0 would begin, for 1 epoch" in said
    assert re.search(r"^ *3d_ful\S* .*\d k ", said, re.MULTILINE)
    assert "disk: " in said
    assert "train: 1 run, estimated" in said
    assert "select: would run" in said


def test_each_stage_ends_with_one_line_as_announced(told: Told) -> None:
    lines = ends(told.whole)
    assert {stage: len(found) for stage, found in lines.items()} == dict.fromkeys(STAGES, 1), told.whole
    assert lines["fingerprint"][0] == "fingerprint: nothing to do, out/Tiny/fingerprint.yaml is up to date"
    matched = {stage: END.match(found[0]) for stage, found in lines.items()}
    written = {stage: found["where"] for stage, found in matched.items() if found and found["where"]}
    assert set(written) == {*STAGES} - {"fingerprint"}
    assert written["select"] == "out/Tiny/selection/main.yaml and out/Tiny/models/main"
    assert all(Path(place).exists() for places in written.values() for place in places.split(" and "))
    assert "4 cases, 4 made now" in lines["preprocess"][0]


def test_what_is_done_would_be_skipped_and_is(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    said = again(told, caplog, dry_run=True)
    assert said.count("would be skipped: ") == len(STAGES), said
    assert "would run" not in said
    said = again(told, caplog)
    assert {stage: len(found) for stage, found in ends(said).items()} == dict.fromkeys(STAGES, 1), said
    assert "wrote" not in said


def test_what_the_command_refuses_is_refused(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    before = listing(Path("out"))
    settings = replace(told.settings, dry_run=True)
    with pytest.raises(UsageError, match=r"optimizer\.lr: 0\.01 there, 0\.5 now"):
        pipeline.run(replace(settings, optimizer=replace(settings.optimizer, lr=0.5)))
    other = replace(settings, name="new", plan=replace(settings.plan, spacing=(3.0, 3.0, 3.0)))
    with pytest.raises(ArtefactError, match=r"is missing; add the stage that makes it: stages=\[preprocess,\.\.\.\]"):
        pipeline.run(replace(other, stages=("train",)))
    with pytest.raises(ArtefactError, match=r"no fold of name=new is finished"):
        pipeline.run(replace(other, stages=("select",)))
    with pytest.raises(ArtefactError, match=r"fingerprint\.yaml is missing \(not there yet\); add the stage"):
        pipeline.run(replace(settings, stages=("plan",), output_root="elsewhere"))
    assert listing(Path("out")) == before
    assert not Path("elsewhere").exists()


def test_each_job_of_a_sweep_announces_its_own_and_no_folder_is_left(told: Told) -> None:
    said = dry(Path.cwd(), "-m", "folds=0,1", "trainer.max_epochs=2", "hydra/launcher=basic")
    assert said.count("dry run of Tiny") == 2
    assert "train: 3d_fullres fold 0 would go on: to go on, Dice " in said
    assert "train: 3d_fullres fold 1 would begin, for 2 epochs" in said


def test_it_waits_for_whoever_selects_and_then_reports(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    with hold(Path("out/Tiny/.locks/selection main.lock"), "the selection"):
        said = again(told, caplog, dry_run=True)
    assert f"select: would wait for process {os.getpid()} on " in said
    assert "report: would run when the selection is made" in said


def test_of_a_dataset_that_would_be_made_first_it_lists_the_stages(caplog: pytest.LogCaptureFixture) -> None:
    task = TaskSettings(name="New", folder="New", synthetic="phantom")
    settings = check_settings(ExperimentSettings(task=task, data_root="nowhere", output_root="nowhere", dry_run=True))
    with caplog.at_level(logging.INFO):
        pipeline.run(settings)
    assert [line for line in caplog.messages if line.endswith(": would run")] == [f"{s}: would run" for s in STAGES]
    assert not Path("nowhere").exists()
