"""Hydra's launchers: defaults that suit a training, and settings that are refused before anything starts."""

import os

import pytest
from hydra.core.config_store import ConfigStore

from segfw.core.errors import UsageError
from segfw.sweeps import launchers
from segfw.sweeps.launchers import (
    check_launcher,
    check_launcher_is_there,
    check_launcher_key,
    jobs_at_once,
    kind_of,
    lacks_cards,
    register_defaults,
    see_cards_again,
    threads_of_jobs,
)

LOCAL = {"nodes": 1, "tasks_per_node": 1, "timeout_min": 60}


def test_trainings_are_not_ended_after_an_hour():
    register_defaults()
    store = ConfigStore.instance()
    slurm = store.load("hydra/launcher/submitit_slurm.yaml").node
    assert (slurm.timeout_min, slurm.max_num_timeout, slurm.signal_delay_s) == (1440, 100, 120)
    assert store.load("hydra/launcher/submitit_local.yaml").node.timeout_min == 365 * 24 * 60


def test_a_missing_plugin_is_named_with_the_line_that_installs_it():
    with pytest.raises(UsageError, match=r'joblib needs a plugin of Hydra: pip install "segfw\[sweep\]"'):
        check_launcher_is_there("joblib", ["basic"])
    check_launcher_is_there("joblib", ["basic", "joblib"])


def test_a_misspelt_key_is_answered_with_the_nearest():
    register_defaults()
    with pytest.raises(UsageError, match=r"unknown key 'hydra.launcher.partitoin', did you mean 'partition'\?"):
        check_launcher_key("submitit_slurm", "partitoin")
    check_launcher_key("submitit_slurm", "partition")
    check_launcher_key("submitit_slurm", "additional_parameters.mail-user")
    check_launcher_key("of_the_users_own", "anything")


@pytest.mark.parametrize(
    ("launcher", "values", "message"),
    [
        ("submitit_slurm", {"timeout_min": 0}, "hydra.launcher.timeout_min must be 1 or more, got 0"),
        ("submitit_slurm", {"gpus_per_node": -1}, "hydra.launcher.gpus_per_node must be 0 or more, got -1"),
        ("joblib", {"n_jobs": 0}, "n_jobs must be a number of jobs, or -1 for one on each core, got 0"),
        ("submitit_local", {**LOCAL, "tasks_per_node": 2}, "tasks_per_node must be 1 with hydra/launcher=submitit_loc"),
    ],
)
def test_numbers_that_start_no_job(launcher, values, message):
    with pytest.raises(UsageError, match=message):
        check_launcher(launcher, values)


@pytest.mark.parametrize(
    ("launcher", "values", "change", "message"),
    [
        (
            "submitit_slurm",
            {"timeout_min": 1, "gpus_per_node": None},
            {"timeout_min": 0},
            "timeout_min must be 1 or more",
        ),
        (
            "submitit_slurm",
            {"gpus_per_node": 0, "mem_gb": 30},
            {"gpus_per_node": -1},
            "gpus_per_node must be 0 or more",
        ),
        ("submitit_local", LOCAL, {"nodes": 2}, "nodes must be 1 with"),
        ("basic", {}, {"nodes": 0}, "nodes must be 1 or more"),
    ],
)
def test_numbers_that_do(launcher, values, change, message):
    check_launcher(launcher, values)
    with pytest.raises(UsageError, match=message):
        check_launcher(launcher, values | change)


def test_several_computers_are_for_a_cluster():
    check_launcher("submitit_slurm", {"nodes": 2, "tasks_per_node": 2})
    with pytest.raises(UsageError, match="tasks_per_node must be 1 with"):
        check_launcher("submitit_local", {**LOCAL, "tasks_per_node": 2})


@pytest.mark.parametrize(
    ("launcher", "values", "jobs", "at_once"),
    [
        ("basic", {}, 5, 1),
        ("submitit_slurm", {}, 5, 1),
        ("submitit_local", {}, 5, 5),
        ("joblib", {"n_jobs": 2}, 5, 2),
        ("joblib", {"n_jobs": 9}, 5, 5),
        ("joblib", {"n_jobs": -1}, 20, 8),
        ("joblib", {"n_jobs": -2}, 20, 7),
        ("joblib", {"n_jobs": 3}, None, 3),
    ],
)
def test_how_many_work_at_once(launcher, values, jobs, at_once, monkeypatch):
    monkeypatch.setattr(launchers, "available_cores", lambda: 8)
    assert jobs_at_once(launcher, values, jobs) == at_once


def test_jobs_find_their_part_of_the_cores_unless_the_user_says_another(monkeypatch):
    monkeypatch.setattr(launchers, "available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    with threads_of_jobs(3):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("2", "5")
    assert "OMP_NUM_THREADS" not in os.environ
    with threads_of_jobs(1):
        assert "OMP_NUM_THREADS" not in os.environ


def test_a_launcher_is_known_by_what_it_is_not_by_the_name_of_a_file():
    assert kind_of("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher") == "submitit_slurm"
    assert kind_of("hydra._internal.core_plugins.basic_launcher.BasicLauncher") == "basic"
    assert kind_of("my.Launcher") == "my.Launcher"


@pytest.mark.parametrize(
    ("launcher", "values", "lacks"),
    [
        ("submitit_slurm", {"gpus_per_node": None}, True),
        ("submitit_slurm", {"gpus_per_node": 1}, False),
        ("submitit_slurm", {"gres": "gpu:a100:1"}, False),
        ("submitit_local", {"gpus_per_node": None}, False),
    ],
)
def test_a_cluster_gives_cards_only_when_asked(launcher, values, lacks):
    assert lacks_cards(launcher, values) is lacks


@pytest.mark.parametrize(("cards", "seen"), [("2,3", "2,3"), (None, None)])
def test_local_jobs_see_the_cards_that_their_command_sees(cards, seen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    see_cards_again("submitit_local", {"gpus_per_node": None}, cards)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen


@pytest.mark.parametrize(("launcher", "number"), [("submitit_local", 2), ("submitit_slurm", None)])
def test_cards_that_somebody_has_given_stay(launcher, number, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    see_cards_again(launcher, {"gpus_per_node": number}, "4")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
