"""The program from the outside: what a job is given, what is told of its end, and what is left of it."""

import logging
import os
import platform
import signal
from importlib.metadata import version
from pathlib import Path

import pytest
from hydra.errors import HydraException

from segfw import __version__
from segfw.command_line import PACKAGES
from segfw.core.errors import DataError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.verbs import EvaluateSettings


def test_the_job_gets_typed_settings_and_a_folder_for_its_log(run, jobs, tmp_path):
    def talk(settings):
        logging.getLogger("segfw.somewhere").info("working")
        return 0.5

    jobs.act = talk
    status, out, err = run("+task=Task04", "folds=[0,1]", "stages=plan")
    assert (status, out, err) == (0, "settings: stages=[plan] folds=[0,1]\nworking\n", "")
    (settings,) = jobs.settings
    assert isinstance(settings, ExperimentSettings)
    assert (settings.folds, settings.stages, settings.name) == ((0, 1), ("plan",), "main")
    (log,) = tmp_path.glob("outputs/Task04_Hippocampus/logs/*/segfw.log")
    assert "INFO segfw.somewhere: working" in log.read_text()


@pytest.mark.parametrize("words", [["--version"], ["predict", "--version"], ["+task=Task04", "--version", "--help"]])
def test_the_versions_that_a_report_of_a_fault_needs_are_one_line(run, jobs, words):
    packages = ", ".join(f"{title} {version(name)}" for title, name in PACKAGES.items())
    assert run(*words) == (0, f"segfw {__version__} (Python {platform.python_version()}, {packages})\n", "")
    assert [*PACKAGES] == ["PyTorch", "Lightning", "Hydra"]
    assert jobs.settings == []


def test_a_dry_run_tells_its_settings_as_the_run_does(run, jobs, tmp_path):
    words = ("+task=Task04", "folds=[0,1]", "plan.batch_size=4", "configurations=3d_fullres")
    (dry, *_), (real, *_) = (run(*words, *more)[1].splitlines() for more in (["dry_run=true"], []))
    assert dry == f"{real} dry_run=true"
    assert real.startswith("settings: ")


def test_a_logger_of_ones_own_is_named_on_the_command_line_or_in_a_file(run, jobs):
    Path("configs/logger").mkdir(parents=True)
    Path("configs/logger/comet.yaml").write_text("comet:\n  _target_: a.B\n  depth: 3\n")
    assert run("+task=Task04", "+logger.comet._target_=a.B", "+logger.comet.depth=3")[0] == 0
    assert run("+task=Task04", "logger=comet")[0] == 0
    assert [settings.logger.own for settings in jobs.settings] == [{"comet": {"_target_": "a.B", "depth": 3}}] * 2
    status, _, err = run("+task=Task04", "+logger.projekt.name=a")
    assert (status, "unknown key 'logger.projekt', did you mean 'logger.project'?" in err) == (2, True)


def test_many_settings_are_told_on_several_lines_with_no_word_broken(run, jobs):
    status, out, _ = run("+task=Task04", "experiment=fast")
    lines = out.splitlines()
    assert (status, lines[0].split()[:2], len(lines) > 2) == (0, ["settings:", "name=fast"], True)
    assert all(line.startswith("  ") and len(line) <= 120 for line in lines[1:])
    assert "schedule.warmup=0.15" in out.split()


def test_each_verb_has_its_job(run, jobs):
    assert run("evaluate", "predictions=a", "references=b")[0] == 0
    assert run("download", "+task=Task09")[0] == 0
    assert run("report", "+task=Task09")[0] == 0
    first, second, third = jobs.settings
    assert isinstance(first, EvaluateSettings)
    assert second.task.name == "Task09_Spleen"
    assert isinstance(third, ExperimentSettings)


def test_an_expected_failure_is_one_line_and_its_traceback_is_in_the_log(run, jobs, tmp_path):
    def fail(settings):
        raise DataError("case 7: no label")

    jobs.act = fail
    assert run("+task=Task04") == (1, "", "segfw: case 7: no label\n")
    (log,) = tmp_path.glob("outputs/*/logs/*/segfw.log")
    assert "Traceback" in log.read_text()


def test_a_bug_is_one_line_that_names_the_log(run, jobs, tmp_path):
    def fail(settings):
        raise ZeroDivisionError("division by\nzero")

    jobs.act = fail
    status, out, err = run("+task=Task04")
    (log,) = tmp_path.glob("outputs/*/logs/*/segfw.log")
    assert (status, out) == (1, "")
    assert err == f"segfw: unexpected ZeroDivisionError: division by; the traceback is in {log}\n"
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("words", [("status", "+task=Task04"), ("compare", "runs=[a,b]")])
@pytest.mark.parametrize("error", [ZeroDivisionError("division by\nzero"), OSError(116, "Stale file handle")])
def test_a_bug_of_a_verb_without_a_log_shows_its_traceback(run, jobs, tmp_path, words, error):
    def fail(settings):
        raise error

    jobs.act = fail
    status, out, err = run(*words)
    assert (status, out, list(tmp_path.iterdir())) == (1, "", [])
    assert err.startswith("Traceback")
    assert err.splitlines()[-1] == f"segfw: unexpected {type(error).__name__}: {error}".splitlines()[0]


@pytest.mark.parametrize("words", [("status", "+task=Task04"), ("compare", "runs=[a,b]")])
def test_an_expected_failure_of_a_verb_without_a_log_is_one_line(run, jobs, words):
    def fail(settings):
        raise DataError("case 7: no label")

    jobs.act = fail
    assert run(*words) == (1, "", "segfw: case 7: no label\n")


def test_an_interrupt_is_status_130(run, jobs):
    def interrupt(settings):
        raise KeyboardInterrupt

    jobs.act = interrupt
    assert run("+task=Task04") == (130, "", "segfw: interrupted\n")


def test_a_termination_is_status_143_and_says_so(run, jobs):
    jobs.act = lambda settings: os.kill(os.getpid(), signal.SIGTERM)
    assert run("+task=Task04") == (143, "", "segfw: terminated\n")


@pytest.mark.parametrize(("cause", "status"), [(SystemExit(143), 143), (KeyboardInterrupt(), 130)])
def test_what_unwinding_raises_does_not_hide_an_interruption(run, jobs, cause, status):
    def unwind(settings):
        try:
            raise cause
        finally:
            raise HydraException("half a node")

    jobs.act = unwind
    assert run("+task=Task04")[0] == status


def test_a_job_that_slurm_warns_ends_and_has_itself_queued_again(run, jobs, monkeypatch):
    before, asked = signal.getsignal(signal.SIGUSR1), []

    def requeue(job):
        os.kill(os.getpid(), signal.SIGUSR1)  # a second warning
        asked.append(job["SLURM_JOB_ID"])
        return "queued"

    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    monkeypatch.setattr("segfw.core.support.slurm.requeue", requeue)
    jobs.act = lambda settings: os.kill(os.getpid(), signal.SIGUSR1)
    assert run("+task=Task04") == (143, "", "segfw: queued\n")
    assert asked == ["12"]
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.fixture
def second_of_two(monkeypatch):
    """Be the second of two processes that SLURM has started together."""
    step = {"SLURM_JOB_ID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
    place = {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
    for name, value in {**step, **place}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("second_of_two")
def test_further_ranks_take_part_without_a_run_folder(run, jobs, tmp_path):
    assert run("task.name=Mine", "task.folder=x")[0] == 0
    assert [settings.task.name for settings in jobs.settings] == ["Mine"]
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("second_of_two")
@pytest.mark.parametrize(
    "words", [("-m", "task.name=Mine", "folds=0,1"), ("evaluate", "predictions=a", "references=b")]
)
def test_only_the_main_job_is_for_several_processes(run, jobs, words):
    status, _, err = run(*words)
    assert status == 2
    assert "2 processes were started together, which the main job alone can use, without -m" in err
    assert not jobs.settings


def test_every_setting_is_kept_beside_the_log_and_the_configuration_composes_again(run, jobs, tmp_path):
    words = ("+task=Task04", "experiment=fast", "debug=fdr", "tags=[a, b]")
    assert run(*words)[0] == 0
    (log,) = tmp_path.glob("outputs/Task04_Hippocampus/logs/*")
    tree = (log / "config_tree.log").read_text(encoding="utf-8")
    assert "├── tags: [a,b]\n" in tree
    assert "│   ├── max_epochs: 1\n" in tree
    assert "├── overwrite: true\n" in tree
    again = tmp_path / "configs" / "experiment" / "again.yaml"
    again.parent.mkdir(parents=True)
    again.write_text("# @package _global_\n" + (log / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    assert run("experiment=again")[0] == 0
    assert jobs.settings[0] == jobs.settings[1]


def test_every_setting_is_printed_on_request(run, jobs):
    status, out, _ = run("+task=Task04", "print_config=true", "experiment=smoke")
    assert (status, out.startswith("settings\n├── task\n│   ├── name: Task04_Hippocampus\n")) == (0, True)
    assert "settings: " not in out
    assert run("+task=Task04")[1] == ""
    assert run("evaluate", "predictions=a", "references=b")[1] == ""


def test_a_comparison_leaves_no_log(run, jobs, tmp_path):
    assert run("compare", "runs=[a,b]")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_status_of_no_task_names_those_that_there_are(run, jobs):
    assert run("status") == (2, "", "segfw: status of which task? In outputs there is none yet\n")
    for name in ("Task04_Hippocampus", "Mine"):
        Path("outputs", name).mkdir(parents=True)
        Path("outputs", name, "dataset.yaml").touch()
    listed = "there are task.name=Mine, +task=Task04"
    assert run("status") == (2, "", f"segfw: status of which task? In outputs {listed}\n")


def test_help_of_a_verb_shows_keys_values_and_meanings(run, jobs):
    status, out, _ = run("experiment", "+task=Task04", "experiment=fast", "--help")
    assert status == 0
    lines = {line.split("#")[0].strip(): line.split("#")[-1].strip() for line in out.splitlines()}
    assert lines["max_epochs: 20"].startswith("epochs; raising it extends a run")
    assert jobs.settings == []


@pytest.mark.parametrize(
    ("verb", "there"),
    [
        ("verify", {"task", "data_root", "data_cache", "output_root", "verify", "executor", "dry_run"}),
        ("download", {"task", "data_root", "dry_run"}),
    ],
)
def test_help_of_a_verb_shows_what_it_reads_and_nothing_else(run, verb, there):
    status, out, _ = run(verb, "+task=Task04", "--help")
    assert status == 0
    assert {line.partition(":")[0] for line in out.splitlines()[3:] if not line.startswith(" ")} == there
