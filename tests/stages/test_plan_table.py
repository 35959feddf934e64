"""The table at the end of stage `plan`, its advice and its warnings."""

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.errors import ArtefactError, DeviceError
from segfw.core.settings.schema import ExperimentSettings, NetworkSettings, PlanOverrides
from segfw.core.settings.training import TrainerSettings
from segfw.interop.nnunet import read_plans
from segfw.stages.costs import DONE, ConfigurationCost, disk_still_needed, plan_costs, run_folder
from segfw.stages.job import Job
from segfw.stages.plan_table import WIDTH, _tell_disk, plan_table, show_plan
from segfw.stages.trainings.runs import Done
from segfw.training.devices import Device
from segfw.workspace import to_yaml
from tests.stages.golden import HIPPOCAMPUS, make_job

CASCADE = HIPPOCAMPUS.parent / "case038"
CPU = Device("cpu", "CPU", "32-true", 2, "CPU, 2 threads (as asked)")
CARD = Device("cuda", "A card", "16-mixed", 16, "A card (CUDA 13.0, precision 16-mixed)", 25.4)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(tmp_path, ExperimentSettings())


@pytest.fixture(autouse=True)
def speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every device compute 1 TFLOP a second."""
    monkeypatch.setattr("segfw.training.team.measure_flops_per_second", lambda device: 1e12)


def show(job: Job, device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> str:
    monkeypatch.setattr("segfw.training.team.choose_device", lambda *settings: device)
    monkeypatch.setenv("COLUMNS", "120")
    with caplog.at_level(logging.INFO):
        show_plan(job)
    return caplog.text


def test_costs_of_the_published_recipe(job):
    cost = plan_costs(job, CPU, 1e12)["3d_fullres"]
    assert cost.parameters == 5_603_177
    # 0.345 TFLOP a forward pass, 1000 epochs of 250 steps of three passes and 50 validation passes
    assert cost.seconds_per_fold == pytest.approx(1000 * (3 * 250 + 50) * 0.345, rel=2e-3)
    assert cost.checkpoints == 5_603_177 * 4 * 5
    assert cost.store == pytest.approx(85.5e6, rel=0.02)  # as measured on the stores of these 260 cases
    assert cost.preprocessing == pytest.approx(169e6, rel=0.05)  # likewise, of a process's largest resident size
    assert cost.training == pytest.approx(2.71e9, rel=0.05)  # likewise


def test_another_network_costs_something_else(job, tmp_path):
    residual = make_job(tmp_path, ExperimentSettings(network=NetworkSettings("residual_unet")))
    assert plan_costs(residual, CPU, 1e12)["2d"].parameters > plan_costs(job, CPU, 1e12)["2d"].parameters


def test_without_fingerprint_and_device_the_rest_is_told(job, monkeypatch, caplog):
    def missing(path, made_from, stage):
        raise ArtefactError("missing")

    del job.__dict__["fingerprint"]
    monkeypatch.setattr(Job, "_require", lambda *arguments: missing(*arguments[1:]))
    cost = plan_costs(job, None, None)["2d"]
    assert (cost.store, cost.preprocessing, cost.seconds_per_fold) == (None, None, None)
    assert plan_table(job.plan, {"2d": cost}).splitlines()[-1].split()[-1] == "?"
    with caplog.at_level(logging.INFO):
        _tell_disk(job, {"2d": cost})
    assert "not known without a fingerprint" in caplog.text
    assert re.search(r"disk: 77\.\d MB still to be written in .*: 77\.\d MB of checkpoints \(2 folds\)", caplog.text)
    assert " 0 B" not in caplog.text


def test_one_model_on_every_case_has_no_validation(tmp_path):
    full = make_job(tmp_path, ExperimentSettings(folds="full", trainer=TrainerSettings(max_epochs=1)))
    assert plan_costs(full, CPU, 1e12)["3d_fullres"].seconds_per_fold == pytest.approx(750 * 0.345, rel=2e-3)


def test_what_is_there_needs_no_disk(job):
    costs = plan_costs(job, CPU, 1e12)
    stores, checkpoints = disk_still_needed(job, costs)
    assert stores == sum(cost.store or 0 for cost in costs.values())
    assert checkpoints == 2 * sum(cost.checkpoints for cost in costs.values())
    done = run_folder(job, "2d", 0) / DONE
    done.parent.mkdir(parents=True)
    done.touch()
    assert disk_still_needed(job, costs) == (stores, checkpoints - costs["2d"].checkpoints)
    store = job.workspace.store(job.store_name(job.plan, job.plan.configuration("2d")))
    store.mkdir(parents=True)
    (store / "a.npy").write_bytes(bytes(1000))
    assert disk_still_needed(job, costs)[0] == stores - 1000


def test_a_shared_store_is_counted_once(job):
    plan = job.generated_plan
    twin = replace(plan.configuration("3d_fullres"), batch_size=2)
    job.__dict__["generated_plan"] = replace(plan, configurations={**plan.configurations, "twin": twin})
    costs = plan_costs(job, CPU, 1e12)
    assert costs["twin"].shares_with == "3d_fullres"
    assert disk_still_needed(job, costs)[0] == (costs["2d"].store or 0) + (costs["3d_fullres"].store or 0)
    assert "shared" in plan_table(job.plan, costs).splitlines()[-1]


def test_the_table_is_no_wider_than_a_terminal():
    cost = ConfigurationCost(102_350_575, 23.94, 1_234_000_000_000, None, 10**9, 4.2e9, 31e9, 99 * 86400.0)
    plan = read_plans(CASCADE / "plans_default.json")
    names = list(plan.configurations)
    shared = replace(cost, shares_with="3d_fullres")
    table = plan_table(plan, {name: shared if name == "3d_cascade_fullres" else cost for name in names})
    rows = {row.split()[0]: row for row in table.splitlines() if row.split() and row.split()[0] in names}
    assert max(map(len, table.splitlines())) <= WIDTH
    assert set(rows) == set(names)
    assert "…" not in table
    assert rows["2d"].endswith("102 M  23.9 GB  1.23 TB     4.20 GB   31.0 GB  99.0 days")


@pytest.mark.parametrize("width", [70, 80, 120])
def test_long_names_and_values_are_shown_whole(job, width):
    cost = ConfigurationCost(102_350_575, 23.94, 1_234_000_000_000, None, 10**9, 4.2e9, 31e9, 634 * 365.25 * 86400.0)
    name = "a_configuration_of_my_own_with_a_name_that_says_it_all"
    planned = replace(job.plan.configuration("3d_fullres"), spacing=(0.123456, 1.23e-05, 123456.0))
    plan = replace(job.plan, dataset_name="[bold]Mine[/bold]", configurations={name: planned})
    table = plan_table(plan, {name: cost}, width)
    assert max(map(len, table.splitlines())) <= width
    assert "[bold]Mine[/bold]" in table
    rows = table[table.index("──") :].splitlines()[1:]
    column = len(re.match(r" \S+ +", rows[0])[0])
    assert "".join(row[:column].strip() for row in rows) == name
    words = " ".join(" ".join(row[column:] for row in rows).split())
    for value in ("23.9", "634", "years", "102 M"):
        assert value in words


def test_what_is_trained_is_not_measured(job, monkeypatch, caplog):
    def measured(device):
        raise AssertionError("nothing is left to train")

    for name in job.configurations:
        for fold in job.folds:
            path = run_folder(job, name, fold) / DONE
            path.parent.mkdir(parents=True)
            path.write_text(to_yaml(Done(1000, 1, "", "", None, None, {})))
    with monkeypatch.context() as patch:
        patch.setattr("segfw.training.team.measure_flops_per_second", measured)
        text = show(job, CARD, patch, caplog)
    assert "trained" in text
    assert "time:" not in text
    assert "advice:" not in text
    path.write_text(to_yaml(Done(999, 1, "", "", None, None, {})))
    assert "time: " in show(job, CARD, monkeypatch, caplog)


def test_tells_costs_device_and_advice(job, monkeypatch, caplog):
    text = show(job, CARD, monkeypatch, caplog)
    assert "3d_fullres     1 1 1     40x56x40      9      5.60 M  1.23 GB  84.8 MB" in text
    assert "170 MB of preprocessed cases" in text
    assert "(2 folds)" in text
    assert " of training in all, without whole-case validation, by the 1000" in text
    assert "by the 1000 GFLOP/s just measured on A card (CUDA 13.0, precision 16-mixed); less where" in text
    assert "advice: this GPU has 25.4 GB: planner=resenc_l is made for it (chosen: default, made for 8 GB)" in text


def test_given_values_are_told_with_the_memory_that_they_need_and_in_the_title(tmp_path, monkeypatch, caplog):
    given = PlanOverrides(batch_size=2, refit=("topology",))
    asked = ExperimentSettings(plan=given, configurations=["3d_fullres"])
    text = show(make_job(tmp_path, asked), CARD, monkeypatch, caplog)
    assert "plan.batch_size: 3d_fullres now needs about 274 MB of GPU memory (planned: 1.23 GB)" in text
    assert "plan default of Dataset004_Hippocampus with plan.batch_size, plan.refit as given, with estimates" in text
    caplog.clear()
    assert " as given" not in show(make_job(tmp_path, ExperimentSettings()), CARD, monkeypatch, caplog)


def test_who_asks_for_little_already_gets_no_advice(tmp_path, monkeypatch, caplog):
    job = make_job(tmp_path, ExperimentSettings(trainer=TrainerSettings(max_epochs=19)))  # 4750 iterations
    assert "advice: no GPU was found; what makes" in show(job, CPU, monkeypatch, caplog)
    assert "experiment=fast" not in caplog.text
    caplog.clear()
    small = PlanOverrides(batch_size=2)
    asked = ExperimentSettings(
        plan=small, configurations=["3d_fullres"], folds=(0,), trainer=TrainerSettings(max_epochs=19)
    )
    assert "advice" not in show(make_job(tmp_path, asked), CPU, monkeypatch, caplog)


def test_says_that_nothing_is_left_to_write(job, monkeypatch, caplog):
    monkeypatch.setattr("segfw.stages.plan_table.disk_still_needed", lambda job, costs: (0, 0))
    assert "disk: nothing large is still to be written" in show(job, CARD, monkeypatch, caplog)


def test_warns_of_a_small_disk_and_of_little_memory(job, monkeypatch, caplog):
    monkeypatch.setattr("segfw.stages.costs.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(9e9, 8.9e9, 1e8))
    monkeypatch.setattr("segfw.stages.plan_table.available_memory", lambda: int(1e8))
    text = show(job, CPU, monkeypatch, caplog)
    assert "disk: about 471 MB are needed in" in text
    assert "100 MB are free" in text
    assert "no GPU was found" in text


def test_an_unusable_card_stops_no_planning(job, monkeypatch, caplog):
    def unusable(*settings):
        raise DeviceError("an NVIDIA card is present")

    monkeypatch.setattr("segfw.training.team.choose_device", unusable)
    with caplog.at_level(logging.INFO):
        show_plan(job)
    assert "since training would stop: an NVIDIA card is present" in caplog.text
    assert "GFLOP/s" not in caplog.text
