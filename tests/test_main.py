"""The program from the outside: exit status, messages, run folders, sweeps."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.errors import HydraException

import segfw.__main__ as program
from segfw.command_line import VERBS
from segfw.core.errors import DataError, UsageError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.verbs import EvaluateSettings, PredictSettings

MISSPELT = "unknown key 'trainer.max_epoch', did you mean 'trainer.max_epochs'?"
ROOT = Path(__file__).parents[1]
SLURM = ("+task=Task04", "folds=0,1", "hydra/launcher=submitit_slurm")


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def jobs(monkeypatch):
    """Put one class in the place of every stage; return the settings it was called with, and it (`act` is its work)."""
    calls, told = [], []

    class Stage:
        act = staticmethod(lambda settings: None)
        multiruns = told

        @classmethod
        def run(cls, settings, multirun=None):
            calls.append(settings)
            cls.multiruns.append(multirun)
            return cls.act(settings)

    for verb in VERBS.values():
        monkeypatch.setitem(sys.modules, verb.job.partition(":")[0], Stage)
    return calls, Stage


def run(capsys, *words):
    """Run the program and return exit status, stdout and stderr."""
    status = program.main(words)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+task=Task04", "trainer.max_epoch=3"], MISSPELT),
        (["+task=Task04", "+trainer.max_epoch=3"], MISSPELT),
        (["+task=Task04", "++trainer.max_epoch=3"], MISSPELT),
        (["task=Task04"], "write it with a plus: +task=Task04"),
        (["+task=Demo", "+debug=fdr"], "debug has a default that is replaced; write it without the plus: debug=fdr"),
        (["+task=Task4"], "unknown task 'Task4', did you mean 'Task04'? There are Demo, Task01, Task02"),
        (["+task=Task04", "planner=resenc"], "unknown planner 'resenc'"),
        (["+task=Task04", "+planner=resenc_m"], "write it without the plus: planner=resenc_m"),
        (["+task=Task04", "+seed=3"], "'seed=3'"),
        ([], "no task given"),
        (["+task=Task04", "folds=all"], "folds=full"),
        (["+task=Task04", "folds=0,1"], "add -m"),
        (["+task=Task04", "-m", "folds=all,0"], "folds=full"),
        (["+task=Task04", "-m", "planner=default,nope"], "unknown planner 'nope'"),
        (["+task=Task04", "trainer.max_epochs=[1"], "trainer.max_epochs"),
        (["+task=Task04", "folds"], "cannot read 'folds'"),
        (["+task=Task04", "stages=[plan,trian]"], "unknown stage 'trian', did you mean 'train'?"),
        (["+task=Task04", "seed=${nope}"], "nope"),
        (["+task=Task04", "output_root=${nope}"], "output_root must not hold '${'"),
        (["+task=Task04", "--config-dir", "nowhere"], "there is no folder 'nowhere'"),
        (["trian"], "unknown verb 'trian'"),
        (["predict", "model=a"], "predict needs input= and output="),
        (["predict", "model=a", "input=b", "output=c", "trainer.max_epochs=1"], "unknown key 'trainer.max_epochs'"),
        (["predict", "model=a", "input=b", "output=c", "inference.folds=all"], "or full, got 'all'"),
        (["predict", "model=a", "input=b", "output=c", "model_sha256=12ab"], "64 hexadecimal digits, got '12ab'"),
        (
            ["predict", "model=a", "input=b", "output=c", "inference.output_format=tiff"],
            "output_format must be one of ['nii.gz', 'nii', 'nrrd', 'mha', 'tif', 'png', 'dicom_seg'], got 'tiff'",
        ),
        (["export", "model=a", "format=tar", "output=b"], "format must be one of ['zip', 'onnx', 'nnunet']"),
        (["export", "model=a"], "export needs format= and output="),
        (["+task=Task04", "pretrained.on_mismatch=warn"], "must be one of ['error', 'adapt', 'skip'], got 'warn'"),
        (["evaluate"], "evaluate needs predictions= and references="),
        (["-m", *SLURM, "hydra.launcher.partitoin=gpu"], "unknown key 'hydra.launcher.partitoin', did you mean 'parti"),
        (["-m", *SLURM, "+hydra.launcher.gpu=1"], "unknown key 'hydra.launcher.gpu'"),
        (["-m", *SLURM, "hydra.launcher.timeout_min=long"], "hydra.launcher.timeout_min=long: Value 'long' of type"),
        (["-m", *SLURM, "hydra.launcher.array_parallelism=0"], "array_parallelism must be 1 or more, got 0"),
        (["-m", "+task=Task04", "folds=0,9,nine"], "got 'nine'"),
        (["+task=Task04", "name=über"], """'name=über': 'ü' can only stand in quotes; write 'name='"'"'über'"'"''"""),
        (["+task=Task04", "name=a b/ü"], "'ü' can only stand in quotes; write "),
        (["+task=Task04", "tags=[a,ü]"], "'ü' can only stand in quotes; quote the text that holds it"),
        (["+task=Task04", "nämé=3"], "a key cannot hold 'ä'"),
        (["+task=Task04", "name='über"], '"\'" can only stand in quotes'),
    ],
)
def test_a_wrong_command_line_is_explained_in_one_line_with_status_2(capsys, jobs, tmp_path, words, message):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("segfw: ")
    assert len(err.splitlines()) == 1
    assert jobs[0] == []
    assert list(tmp_path.iterdir()) == []


def test_many_settings_are_told_on_several_lines_with_no_word_broken(capsys, jobs):
    status, out, _ = run(capsys, "+task=Task04", "experiment=fast")
    lines = out.splitlines()
    assert (status, lines[0].split()[:2], len(lines) > 2) == (0, ["settings:", "name=fast"], True)
    assert all(line.startswith("  ") and len(line) <= 120 for line in lines[1:])
    assert "schedule.warmup=0.15" in out.split()


def test_the_job_gets_typed_settings_and_a_folder_for_its_log(capsys, jobs, tmp_path):
    def talk(settings):
        logging.getLogger("segfw.somewhere").info("working")
        return 0.5

    jobs[1].act = talk
    status, out, err = run(capsys, "+task=Task04", "folds=[0,1]", "stages=plan")
    assert (status, out, err) == (0, "settings: stages=[plan] folds=[0,1]\nworking\n", "")
    (settings,) = jobs[0]
    assert isinstance(settings, ExperimentSettings)
    assert (settings.folds, settings.stages, settings.name) == ((0, 1), ("plan",), "main")
    (log,) = tmp_path.glob("outputs/Task04_Hippocampus/logs/*/segfw.log")
    assert "INFO segfw.somewhere: working" in log.read_text()


@pytest.mark.parametrize("plus", ["", "+", "++"])
@pytest.mark.parametrize("network", ["bayesian_unet", "unet"])
def test_arguments_of_a_network_are_given_with_or_without_a_plus(capsys, jobs, plus, network):
    words = (f"network={network}", f"{plus}network.arguments.dropout=0.3")
    assert run(capsys, "+task=Task04", *words)[0] == 0
    assert run(capsys, "+task=Task04", "-m", words[0], f"{words[1]},0.4")[0] == 0
    assert [settings.network.arguments for settings in jobs[0]] == [
        {"dropout": 0.3},
        {"dropout": 0.3},
        {"dropout": 0.4},
    ]


def test_paths_are_taken_as_they_are_typed(capsys, jobs, tmp_path):
    path = "/a b,c=d[1]{2}~#'\"$x ${y}/münchen/中\\"
    status, _, err = run(capsys, "predict", f"model={path}", f"input={path}", "output=~")
    assert (status, err) == (0, "")
    assert (jobs[0][0].model, jobs[0][0].input, jobs[0][0].output) == (path, path, "~")
    assert isinstance(jobs[0][0], PredictSettings)


def test_odd_output_folders_and_sweeps_with_odd_paths_work(capsys, jobs, tmp_path):
    root = tmp_path / "a, b=$c [d] 'e'"
    words = ["-m", "task.name=Mine", "task.folder=x,y", f"output_root={root}", "folds=0,1"]
    status, _, err = run(capsys, *words)
    assert (status, err) == (0, "")
    assert [(s.folds, s.task.folder, s.output_root, s.name) for s in jobs[0]] == [
        ((0,), "x,y", str(root), "main"), ((1,), "x,y", str(root), "main"),
    ]  # fmt: skip
    assert len(list(root.glob("Mine/sweeps/*/1/segfw.log"))) == 1


def test_an_expected_failure_is_one_line_and_its_traceback_is_in_the_log(capsys, jobs, tmp_path):
    def fail(settings):
        raise DataError("case 7: no label")

    jobs[1].act = fail
    assert run(capsys, "+task=Task04") == (1, "", "segfw: case 7: no label\n")
    (log,) = tmp_path.glob("outputs/*/logs/*/segfw.log")
    assert "Traceback" in log.read_text()


def test_a_bug_is_one_line_that_names_the_log(capsys, jobs, tmp_path):
    def fail(settings):
        raise ZeroDivisionError("division by\nzero")

    jobs[1].act = fail
    status, out, err = run(capsys, "+task=Task04")
    (log,) = tmp_path.glob("outputs/*/logs/*/segfw.log")
    assert (status, out) == (1, "")
    assert err == f"segfw: unexpected ZeroDivisionError: division by; the traceback is in {log}\n"
    assert "Traceback" in log.read_text()


def test_an_interrupt_is_status_130(capsys, jobs):
    def interrupt(settings):
        raise KeyboardInterrupt

    jobs[1].act = interrupt
    assert run(capsys, "+task=Task04") == (130, "", "segfw: interrupted\n")


def test_a_termination_is_status_143_and_says_so(capsys, jobs):
    jobs[1].act = lambda settings: os.kill(os.getpid(), signal.SIGTERM)
    assert run(capsys, "+task=Task04") == (143, "", "segfw: terminated\n")


@pytest.mark.parametrize(("cause", "status"), [(SystemExit(143), 143), (KeyboardInterrupt(), 130)])
def test_what_unwinding_raises_does_not_hide_an_interruption(capsys, jobs, cause, status):
    def unwind(settings):
        try:
            raise cause
        finally:
            raise HydraException("half a node")

    jobs[1].act = unwind
    assert run(capsys, "+task=Task04")[0] == status


def test_a_job_that_slurm_warns_ends_and_has_itself_queued_again(capsys, jobs, monkeypatch):
    before, asked = signal.getsignal(signal.SIGUSR1), []

    def requeue(job):
        os.kill(os.getpid(), signal.SIGUSR1)  # a second warning
        asked.append(job["SLURM_JOB_ID"])
        return "queued"

    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    monkeypatch.setattr("segfw.core.support.slurm.requeue", requeue)
    jobs[1].act = lambda settings: os.kill(os.getpid(), signal.SIGUSR1)
    assert run(capsys, "+task=Task04") == (143, "", "segfw: queued\n")
    assert asked == ["12"]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_failed_job_of_a_sweep_does_not_stop_the_others(capsys, jobs):
    def fail(settings):
        if settings.folds == (0,):
            raise DataError("fold 0 is broken")

    jobs[1].act = fail
    status, _, err = run(capsys, "-m", "+task=Task04", "folds=0,1")
    assert status == 1
    assert "segfw: fold 0 is broken\n" in err
    assert "Traceback" not in err
    assert len(jobs[0]) == 2
    assert "segfw: 1 of 2 jobs are not done:\n  job 0 (folds=0): fold 0 is broken; log " in err
    assert "name=main: python -m segfw +task=Task04 name=main 'stages=[select,report]'" in err


def test_jobs_that_are_all_wrong_have_status_2(capsys, jobs):
    def refuse(settings):
        raise UsageError(f"there is no fold {settings.folds[0]}")

    jobs[1].act = refuse
    status, _, err = run(capsys, "-m", "+task=Task04", "folds=1,2")
    assert status == 2
    assert "  job 1 (folds=2): there is no fold 2; log " in err


@pytest.mark.parametrize(
    ("words", "folds", "configurations"),
    [
        (("folds=0,1",), ((0,), (1,)), ("auto",)),
        (("folds=[0,1]", "configurations=2d,[3d_fullres]"), ((0, 1),), (("2d",), ("3d_fullres",))),
        (("seed=1,2",), ("cv",), ("auto",)),
    ],
)
def test_a_job_of_a_sweep_knows_what_the_others_train(capsys, jobs, tmp_path, words, folds, configurations):
    assert run(capsys, "-m", "+task=Task04", *words)[0] == 0
    told = jobs[1].multiruns
    assert [(each.folds, each.configurations, each.at_once) for each in told] == [(folds, configurations, 1)] * 2
    assert not list(tmp_path.glob("outputs/*/.locks/*"))
    assert run(capsys, "+task=Task04")[0] == 0
    assert told[-1] is None


def test_jobs_of_a_sweep_have_names_of_their_own_unless_only_folds_vary(capsys, jobs):
    assert run(capsys, "-m", "+task=Task04", "folds=0,1", "optimizer.lr=0.1,0.2")[0] == 0
    names = [settings.name for settings in jobs[0]]
    assert len(set(names)) == 2
    assert all(name.startswith("main_") and len(name) == len("main_") + 8 for name in names)
    rates = {(settings.name, settings.optimizer.lr) for settings in jobs[0]}
    assert len(rates) == 2


def test_yaml_files_of_the_working_folder_and_of_config_dir_are_found(capsys, jobs, tmp_path):
    for folder, name in (("configs", "Here"), ("else, where", "There")):
        (tmp_path / folder / "task").mkdir(parents=True)
        (tmp_path / folder / "task" / f"{name}.yaml").write_text(f"name: {name}\nfolder: {name}\n")
    assert run(capsys, "+task=Here")[0] == 0
    assert run(capsys, "+task=There", "--config-dir", "else, where")[0] == 0
    assert run(capsys, "-m", "+task=Here,There", "--config-dir=else, where")[0] == 0
    assert [settings.task.name for settings in jobs[0]] == ["Here", "There", "Here", "There"]


def test_each_verb_has_its_job(capsys, jobs):
    assert run(capsys, "evaluate", "predictions=a", "references=b")[0] == 0
    assert run(capsys, "download", "+task=Task09")[0] == 0
    assert run(capsys, "report", "+task=Task09")[0] == 0
    first, second, third = jobs[0]
    assert isinstance(first, EvaluateSettings)
    assert second.task.name == "Task09_Spleen"
    assert isinstance(third, ExperimentSettings)


def test_help_of_a_verb_shows_keys_values_and_meanings(capsys, jobs):
    status, out, _ = run(capsys, "experiment", "+task=Task04", "experiment=fast", "--help")
    assert status == 0
    lines = {line.split("#")[0].strip(): line.split("#")[-1].strip() for line in out.splitlines()}
    assert lines["max_epochs: 20"].startswith("epochs; raising it extends a run")
    assert jobs[0] == []


@pytest.mark.parametrize(
    ("verb", "there"),
    [
        ("verify", {"task", "data_root", "data_cache", "output_root", "verify", "executor"}),
        ("download", {"task", "data_root"}),
    ],
)
def test_help_of_a_verb_shows_what_it_reads_and_nothing_else(capsys, verb, there):
    status, out, _ = run(capsys, verb, "+task=Task04", "--help")
    assert status == 0
    assert {line.partition(":")[0] for line in out.splitlines()[3:] if not line.startswith(" ")} == there


def _segfw(*words, cwd):
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "segfw", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False)
    return done, time.perf_counter() - started


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["+task=Task04", "trainer.max_epoch=3"], 2)])
def test_help_and_mistakes_are_answered_without_loading_the_heavy_libraries(tmp_path, words, status):
    done, _ = _segfw(*words, cwd=tmp_path)
    assert done.returncode == status
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "hydra" in imported
    heavy = {"torch", "torchio", "lightning", "pytorch_lightning", "lightning_fabric", "SimpleITK", "scipy"}
    assert not imported & (heavy | {"matplotlib", "PIL", "wandb", "mlflow", "tensorboard", "ray", "optuna", "onnx"})
    assert list(tmp_path.iterdir()) == []


def test_predicting_loads_nothing_that_only_training_needs(tmp_path):
    done, _ = _segfw("predict", "model=nowhere", "input=scan.nii.gz", "output=there", cwd=tmp_path)
    assert "segfw: no model at nowhere" in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert {"torch", "segfw.inference.predictor"} <= imported
    packages = {name.partition(".")[0] for name in imported}
    assert not packages & {"pytorch_lightning", "lightning_fabric", "torchmetrics", "torchio", "matplotlib", "wandb"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: M\nchanels: [CT]\n", "task/Own.yaml: unknown key 'task.chanels', did you mean 'task.channels'?"),
        ("name: [M\n", "a file of the configuration is no YAML: while parsing"),
        ("name: !!map 1\n", "a file of the configuration is no YAML: a value cannot be built: ValueError: not enough"),
        ("name: !!bool x\n", "a value cannot be built: KeyError: 'x' in "),
        ("- a\n", "task/Own.yaml must hold key: value lines, got a list"),
    ],
)
def test_a_wrong_task_file_is_told_by_its_name(capsys, jobs, content, message):
    Path("configs/task").mkdir(parents=True)
    Path("configs/task/Own.yaml").write_text(content)
    status, _, err = run(capsys, "+task=Own")
    assert (status, message in err) == (2, True), err


RANK_1 = {
    "SLURM_JOB_ID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
}


def test_further_ranks_take_part_without_a_run_folder(jobs, capsys, monkeypatch, tmp_path):
    for name, value in RANK_1.items():
        monkeypatch.setenv(name, value)
    assert run(capsys, "task.name=Mine", "task.folder=x")[0] == 0
    assert [settings.task.name for settings in jobs[0]] == ["Mine"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [("-m", "task.name=Mine", "folds=0,1"), ("evaluate", "predictions=a", "references=b")]
)
def test_only_the_main_job_is_for_several_processes(jobs, capsys, monkeypatch, words):
    for name, value in RANK_1.items():
        monkeypatch.setenv(name, value)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "2 processes were started together, which the main job alone can use, without -m" in err
    assert not jobs[0]


def test_every_setting_is_kept_beside_the_log_and_the_configuration_composes_again(capsys, jobs, tmp_path):
    words = ("+task=Task04", "experiment=fast", "debug=fdr", "tags=[a, b]")
    assert run(capsys, *words)[0] == 0
    (log,) = tmp_path.glob("outputs/Task04_Hippocampus/logs/*")
    tree = (log / "config_tree.log").read_text(encoding="utf-8")
    assert "├── tags: [a,b]\n" in tree
    assert "│   ├── max_epochs: 1\n" in tree
    assert "├── overwrite: true\n" in tree
    again = tmp_path / "configs" / "experiment" / "again.yaml"
    again.parent.mkdir(parents=True)
    again.write_text("# @package _global_\n" + (log / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    assert run(capsys, "experiment=again")[0] == 0
    assert jobs[0][0] == jobs[0][1]


def test_every_setting_is_printed_on_request(capsys, jobs):
    status, out, _ = run(capsys, "+task=Task04", "print_config=true", "experiment=smoke")
    assert (status, out.startswith("settings\n├── task\n│   ├── name: Task04_Hippocampus\n")) == (0, True)
    assert "settings: " not in out
    assert run(capsys, "+task=Task04")[1] == ""
    assert run(capsys, "evaluate", "predictions=a", "references=b")[1] == ""


@pytest.mark.parametrize("tags", ["[a,a]", "['']", "['a,b']", "[1]", "word"])
def test_tags_are_words(capsys, jobs, tags):
    status, _, err = run(capsys, "+task=Task04", f"tags={tags}")
    assert (status, "tags" in err) == (2, True)


def test_paths_of_runs_are_taken_as_they_are_typed(capsys, jobs):
    assert run(capsys, "compare", "runs=[a b, 'c,d', e=$f]", "output=x,y.json")[0] == 0
    assert (jobs[0][0].runs, jobs[0][0].output) == (("a b", "c,d", "e=$f"), "x,y.json")
    status, _, err = run(capsys, "compare")
    assert (status, "compare needs runs=" in err) == (2, True)


def test_status_of_no_task_names_those_that_there_are(capsys, jobs):
    assert run(capsys, "status") == (2, "", "segfw: status of which task? In outputs there is none yet\n")
    for name in ("Task04_Hippocampus", "Mine"):
        Path("outputs", name).mkdir(parents=True)
        Path("outputs", name, "dataset.yaml").touch()
    listed = "there are task.name=Mine, +task=Task04"
    assert run(capsys, "status") == (2, "", f"segfw: status of which task? In outputs {listed}\n")


def test_a_comparison_leaves_no_log(capsys, jobs, tmp_path):
    assert run(capsys, "compare", "runs=[a,b]")[0] == 0
    assert list(tmp_path.iterdir()) == []
