"""Stage `preprocess`: one store for configurations that want the same, and only what is missing is made."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segfw.core.errors import ArtefactError, DataError, JobError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.planning.plan_yaml import plan_to_yaml
from segfw.core.settings.schema import PlannerSettings
from segfw.core.support.locks import Lock
from segfw.data.store import Store
from segfw.stages import preprocess
from segfw.stages.job import ALGORITHMS, Job, prepare
from segfw.stages.preparation import Order
from segfw.stages.store_needs import in_reasons
from tests.stages import tiny_dataset

Locks = Mapping[Path, Lock]
NAMES = ("2d", "3d_fullres", "3d_wide")
STATISTICS = IntensityStatistics(0.0, 0.0, 50.0, -100.0, 100.0, 99.0, -99.0)


def make_plan() -> Plan:
    """Three configurations; the two of three axes see the same data in patches of different size."""
    full = Configuration(
        spacing=(2.0, 0.5, 0.5), patch_size=(4, 4, 4), batch_size=2, median_image_size_in_voxels=(4.0, 5.0, 6.0),
        architecture="unet", features_per_stage=(4, 8), kernel_sizes=((3, 3, 3),) * 2, strides=((1, 1, 1), (2, 2, 2)),
        n_conv_per_stage=(1, 1), n_conv_per_stage_decoder=(1,), normalization_schemes=("ct",),
        use_mask_for_norm=(False,), batch_dice=False,
    )  # fmt: skip
    flat = replace(
        full, spacing=(0.5, 0.5), patch_size=(4, 4), median_image_size_in_voxels=(5.0, 6.0),
        kernel_sizes=((3, 3),) * 2, strides=((1, 1), (2, 2)),
    )  # fmt: skip
    return Plan(
        "tiny", "default", ("CT",), LabelSet({"background": 0, "liver": 1, "tumor": 2}), (2.0, 0.5, 0.5), (4, 5, 6),
        (0, 1, 2), (0, 1, 2), (STATISTICS,),
        {"2d": flat, "3d_fullres": full, "3d_wide": replace(full, patch_size=(4, 4, 6))},
    )  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Job:
    plan_file = tmp_path / "plan.yaml"
    plan_file.write_text(plan_to_yaml(make_plan()))
    folder = tiny_dataset.make(tmp_path / "tiny")
    settings = tiny_dataset.settings_of(folder, tmp_path / "out")
    return prepare(replace(settings, planner=PlannerSettings(plan_file=str(plan_file)), configurations=list(NAMES)))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Note each case that is read, and the configurations that it is saved for."""
    done: list[tuple[str, list[str]]] = []
    original = preprocess.prepare_case

    def note(plan: Plan, remap: dict[int, int], order: Order, locks: Locks) -> None:
        case, stores, _ = order
        done.append((case.name, list(stores)))
        original(plan, remap, order, locks)

    monkeypatch.setattr(preprocess, "prepare_case", note)
    return done


def stores(job: Job) -> list[Path]:
    return sorted((job.workspace.root / "preprocessed").iterdir())


def state(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_configurations_that_want_the_same_share_a_store_and_a_case_is_read_once(job: Job, prepared: list) -> None:
    preprocess.run(job)
    assert [(case, set(names)) for case, names in prepared] == [(c, {"2d", "3d_fullres"}) for c in tiny_dataset.CASES]
    assert [path.name[:2] for path in stores(job)] == ["2d", "3d"]
    assert all(Store.open(path).cases == tiny_dataset.CASES for path in stores(job))
    before = [state(path) for path in stores(job)]
    preprocess.run(job)
    assert len(prepared) == 3
    assert [state(path) for path in stores(job)] == before


def test_the_next_command_does_only_what_failed(job: Job, prepared: list, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = preprocess.prepare_case

    def fail(plan: Plan, remap: dict[int, int], order: Order, locks: Locks) -> None:
        if order[0].name == "bob":
            raise DataError("bob is ill")
        noted(plan, remap, order, locks)

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "prepare_case", fail)
        with pytest.raises(JobError, match="1 of 3 cases failed, the others are done:\n  bob: bob is ill"):
            preprocess.run(job)
    with pytest.raises(ArtefactError, match=r"lacks 1 of 3 cases \(bob: not there yet\)"):
        preprocess.require_store(job, "3d_fullres")
    before = {name: time for path in stores(job) for name, time in state(path).items()}
    assert [case for case, _ in prepared] == ["ann", "cyd"]
    preprocess.run(job)
    assert [case for case, _ in prepared] == ["ann", "cyd", "bob"]
    after = {name: time for path in stores(job) for name, time in state(path).items()}
    assert {name: after[name] for name in before} == before
    preprocess.require_store(job, "3d_wide")


def test_a_command_that_was_stopped_loses_the_case_in_hand(
    job: Job, prepared: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = preprocess.prepare_case

    def stop(plan: Plan, remap: dict[int, int], order: Order, locks: Locks) -> None:
        if order[0].name == "cyd":
            flat = order[1]["2d"]
            (flat / "cyd.image.npy").write_bytes(b"half")  # as much as a killed process could leave under that name
            raise KeyboardInterrupt
        noted(plan, remap, order, locks)

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "prepare_case", stop)
        with pytest.raises(KeyboardInterrupt):
            preprocess.run(job)
    preprocess.run(job)
    assert [case for case, _ in prepared] == ["ann", "bob", "cyd"]
    for path in stores(job):
        Store.open(path).check()


def test_a_configuration_more_makes_only_its_store(job: Job, prepared: list) -> None:
    alone = Job(replace(job.settings, configurations=["3d_wide"]), job.workspace, job.record)
    preprocess.run(alone)
    preprocess.run(job)
    assert [names for _, names in prepared] == [["3d_wide"]] * 3 + [["2d"]] * 3


def overwrite(path: Path) -> None:
    """Change the last byte of a file, not its size, and put its time of modification back."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def fresh(job: Job) -> Job:
    return prepare(job.settings)


def test_only_the_case_whose_raw_file_changed_is_made_again(job: Job, prepared: list, caplog: Any) -> None:
    preprocess.run(job)
    label = Path(str(job.dataset.case("bob").label))
    tiny_dataset.write(label, tiny_dataset.label_of("ann"))
    changed = fresh(job)
    with pytest.raises(ArtefactError, match=r"lacks 1 of 3 cases \(bob: raw files changed since\); add the stage"):
        preprocess.require_store(changed, "3d_fullres")
    with caplog.at_level("INFO"):
        preprocess.run(changed)
    assert [case for case, _ in prepared[3:]] == ["bob"]
    assert "preprocess 2d: made anew, bob: raw files changed since" in caplog.messages
    preprocess.require_store(changed, "3d_fullres")


def test_another_description_or_algorithm_is_named(job: Job, prepared: list, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess.run(job)
    monkeypatch.setitem(ALGORITHMS, "store", "other")
    with pytest.raises(ArtefactError, match=r"lacks 3 of 3 cases \(ann, bob, cyd: algorithm changed since\)"):
        preprocess.require_store(job, "2d")
    preprocess.run(job)
    assert len(prepared) == 6
    preprocess.require_store(job, "2d")


def test_a_case_that_the_dataset_lost_leaves_the_store(job: Job, prepared: list, caplog: Any) -> None:
    preprocess.run(job)
    fewer = Job(
        job.settings, job.workspace, replace(job.record, dataset=replace(job.dataset, cases=job.dataset.cases[:2]))
    )
    with pytest.raises(ArtefactError, match="does not list the cases of the dataset"):
        preprocess.require_store(fewer, "2d")
    with caplog.at_level("INFO"):
        preprocess.run(fewer)
    assert "preprocess 2d: removed cases that the dataset has no more: cyd" in caplog.messages
    assert [Store.open(path).cases for path in stores(job)] == [("ann", "bob")] * 2
    assert not [path for folder in stores(job) for path in folder.glob("cyd.*")]
    preprocess.run(job)
    assert [case for case, _ in prepared[3:]] == ["cyd"]


def test_overwritten_bytes_are_found_and_made_again(job: Job, prepared: list, caplog: Any) -> None:
    preprocess.run(job)
    flat = stores(job)[0]
    sound = (flat / "bob.image.npy").read_bytes()
    overwrite(flat / "bob.image.npy")
    for _ in range(2):
        with pytest.raises(ArtefactError, match=r"1 of 3 cases \(bob: bob\.image\.npy has SHA-256 .* instead of"):
            preprocess.require_store(job, "2d")
    with caplog.at_level("INFO"):
        preprocess.run(job)
    assert prepared[3:] == [("bob", ["2d"])]
    assert any(m.startswith("preprocess 2d: made anew, bob: bob.image.npy has SHA-256") for m in caplog.messages)
    assert (flat / "bob.image.npy").read_bytes() == sound
    preprocess.require_store(job, "2d")


@pytest.mark.parametrize(
    "members", [{}, 5, {"image": {}}, {"image": 5}, {"image": {"bytes": 1, "sha256": "a"}}, None, "without label"]
)
@pytest.mark.parametrize("committed", [True, False])
def test_a_damaged_record_makes_its_case_anew(job: Job, prepared: list, members: Any, committed: bool) -> None:
    preprocess.run(job)
    flat = stores(job)[0]
    if not committed:
        (flat / "manifest.json").unlink()

    def damage(record: dict[str, Any]) -> None:
        record["members"] = {**record["members"], "label": None} if members == "without label" else members

    edit(flat / "bob.record.json", damage)
    with pytest.raises(ArtefactError, match=r"lacks 1 of 3 cases \(bob: .*bob\.record\.json"):
        preprocess.require_store(job, "2d")
    preprocess.run(job)
    assert prepared[3:] == [("bob", ["2d"])]
    preprocess.require_store(job, "2d")


@pytest.mark.parametrize("cases", [{}, 5, {"bob": {}}, {"bob": {"record": "a", "members": {}}}])
def test_a_damaged_manifest_is_written_anew(job: Job, prepared: list, cases: Any, caplog: Any) -> None:
    preprocess.run(job)
    edit(stores(job)[0] / "manifest.json", lambda manifest: manifest.update(cases=cases))
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged|does not list the cases"):
        preprocess.require_store(job, "2d")
    with caplog.at_level("INFO"):
        preprocess.run(job)
    assert len(prepared) == 3
    assert any("manifest.json is damaged or lists other cases" in message for message in caplog.messages)
    assert Store.open(stores(job)[0]).cases == tiny_dataset.CASES
    preprocess.require_store(job, "2d")


def test_remains_of_a_killed_command_are_removed(job: Job) -> None:
    preprocess.run(job)
    remains = stores(job)[0] / ".tmp-0123abcd-bob.image.npy"
    remains.write_bytes(b"half")
    preprocess.run(job)
    assert not remains.exists()


def test_of_many_reasons_the_first_are_spelled_out() -> None:
    lacking = {**dict.fromkeys("abcde", "x changed since"), "f": "f1", "g": "g1", "h": "h1", "i": "i1"}
    expected = ["5 cases such as a, b, c: x changed since", "f: f1", "g: g1"]
    assert in_reasons(lacking) == [*expected, "h, i likewise"]
    del lacking["h"], lacking["i"]
    assert in_reasons(lacking) == expected
