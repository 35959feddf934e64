"""splits.json: made once, kept, refused where it leaks or differs; on ACDC (SEGFW_TEST_DATA) with its real names."""

import json
import logging
import os
import re
from pathlib import Path

import pytest

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.cases.splits import Fold, find_leak, random_splits
from segfw.core.errors import ArtefactError, DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.schema import ExperimentSettings, SplitSettings, TaskSettings
from segfw.stages.dataset.folds import prepare_splits, read_own_splits, read_splits, write_splits
from segfw.stages.dataset.record import DatasetRecord, FileRecord
from segfw.stages.job import Job, prepare
from segfw.workspace import Workspace

ACDC = Path(os.environ.get("SEGFW_TEST_DATA", "data")) / "Dataset027_ACDC"
PATIENT = r"(patient\d+)_"
NAMES = [f"case_{i:02d}" for i in range(10)]
FRAMES = [f"patient{p:03d}_frame{f:02d}" for p in range(10) for f in (1, 12)]


def record_of(names: list[str], twins: dict[str, str] | None = None) -> DatasetRecord:
    """A record of cases with one image each; `twins`: case -> case whose image it repeats."""
    cases = tuple(Case(name, (name,)) for name in names)
    dataset = Dataset("Mine", ("CT",), LabelSet({"background": 0, "organ": 1}), len(cases), cases)
    return DatasetRecord(dataset, {name: FileRecord(1, 1, (twins or {}).get(name, name)) for name in names})


def never() -> dict[str, frozenset[int]]:
    pytest.fail("label maps are read though the folds do not depend on them")


def folds_of(workspace: Workspace, record: DatasetRecord, presence=never, folds="cv", **split: object):
    """Prepare splits.json and return its folds."""
    prepare_splits(ExperimentSettings(split=SplitSettings(**split), folds=folds), workspace, record, presence)
    return read_splits(workspace.splits)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "out")


def test_the_default_is_nnunets_folds_in_nnunets_form(workspace):
    assert folds_of(workspace, record_of(NAMES)) == random_splits(NAMES, 5, 12345)
    content = json.loads(workspace.splits.read_text())
    assert [sorted(fold) for fold in content] == [["train", "val"]] * 5


@pytest.mark.parametrize("split", [{}, {"kind": "group", "group_pattern": r"(\d)$"}, {"kind": "leave_one_out"}])
def test_the_same_settings_change_nothing(workspace, split):
    folds = folds_of(workspace, record_of(NAMES), **split)
    before = workspace.splits.stat().st_mtime_ns
    assert folds_of(workspace, record_of(NAMES[::-1]), **split) == folds
    assert workspace.splits.stat().st_mtime_ns == before


def test_groups_are_kept_together(workspace):
    folds = folds_of(workspace, record_of(FRAMES), kind="group", group_pattern=PATIENT)
    assert [len(fold.val) for fold in folds] == [4] * 5
    assert find_leak(folds, {name: name[:10] for name in FRAMES}) is None


def test_labels_are_read_for_stratified_folds_alone(workspace):
    presence = {name: frozenset({1} if i < 5 else ()) for i, name in enumerate(NAMES)}
    folds = folds_of(workspace, record_of(NAMES), lambda: presence, kind="stratified")
    assert [sum(1 in presence[name] for name in fold.val) for fold in folds] == [1] * 5
    with pytest.raises(DataError, match=r"the labels of 1 cases are not known: \['case_09'\]"):
        folds_of(workspace, record_of(NAMES), lambda: {name: frozenset() for name in NAMES[:-1]}, kind="stratified")


def test_stratified_folds_keep_groups_and_identical_images_together(workspace, tmp_path):
    presence = {name: frozenset({1}) for name in FRAMES}
    folds = folds_of(workspace, record_of(FRAMES), lambda: presence, kind="stratified", group_pattern=PATIENT)
    assert find_leak(folds, {name: name[:10] for name in FRAMES}) is None
    record = record_of(NAMES, {NAMES[i]: NAMES[0] for i in (3, 6)})
    folds = folds_of(Workspace(tmp_path / "2"), record, lambda: dict.fromkeys(NAMES, frozenset()), kind="stratified")
    assert find_leak(folds, dict.fromkeys((NAMES[0], NAMES[3], NAMES[6]), "same")) is None


def test_leave_one_out_says_that_num_folds_is_not_used(workspace, caplog):
    with caplog.at_level(logging.INFO):
        folds = folds_of(workspace, record_of(FRAMES), kind="leave_one_out", group_pattern=PATIENT)
    assert [fold.val for fold in folds] == [(FRAMES[i], FRAMES[i + 1]) for i in range(0, 20, 2)]
    assert "10 folds" in caplog.text
    assert "split.num_folds=5 is not used" in caplog.text


def test_random_folds_that_part_a_group_are_refused(workspace):
    with pytest.raises(DataError) as error:
        folds_of(workspace, record_of(FRAMES), group_pattern=PATIENT)
    message = (
        r"fold 0 trains on (patient\d{3})_frame\d\d and validates on \1_frame\d\d, both of '\1'; use split.kind=group"
    )
    assert re.fullmatch(message, str(error.value))
    assert not workspace.splits.exists()


def test_identical_images_are_refused_or_kept_on_one_side(workspace):
    record = record_of(NAMES, {"case_07": "case_02"})
    with pytest.raises(
        DataError, match=r"fold 0 trains on case_02 and validates on case_07, whose image files are identical; .*group"
    ):
        folds_of(workspace, record)
    folds = folds_of(workspace, record, kind="group")
    assert find_leak(folds, {"case_07": "x", "case_02": "x"}) is None
    assert sorted(len(fold.val) for fold in folds) == [2] * 5


def test_identical_images_join_their_groups(workspace):
    record = record_of(FRAMES, {FRAMES[0]: FRAMES[3]})
    folds = folds_of(workspace, record, kind="group", group_pattern=PATIENT)
    assert find_leak(folds, dict.fromkeys(FRAMES[:4], "joined")) is None


def test_group_without_groups_says_what_to_give(workspace):
    with pytest.raises(
        UsageError, match=r"split.kind=group cannot know .*'split.group_pattern=\(.\+\)_', as the names"
    ):
        folds_of(workspace, record_of(FRAMES), kind="group")
    with pytest.raises(
        UsageError, match=r"split.group_key=patient split.table=FILE.csv\); no two images are identical"
    ):
        folds_of(workspace, record_of(NAMES), kind="group")


def test_names_that_look_like_patients_give_one_warning_to_paste(workspace, caplog):
    folds_of(workspace, record_of(FRAMES))
    (warning,) = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert "\n  split.kind=group 'split.group_pattern=(.+)_'" in warning
    assert re.search(r"fold 0 trains on (patient\d+)_frame\d+ and validates on \1_", warning)


def test_other_names_and_known_groups_give_no_warning(workspace, tmp_path, caplog):
    folds_of(workspace, record_of(NAMES))
    folds_of(Workspace(tmp_path / "2"), record_of(FRAMES), kind="group", group_pattern=PATIENT)
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


# --- a person's own folds --------------------------------------------------------------------------------------------


def own_file(tmp_path: Path, *folds: tuple[list[str], list[str]]) -> str:
    write_splits(tmp_path / "mine.json", tuple(Fold(tuple(train), tuple(val)) for train, val in folds))
    return str(tmp_path / "mine.json")


def test_a_file_may_leave_cases_out_and_validate_some_twice(workspace, tmp_path, caplog):
    file = own_file(tmp_path, (NAMES[:5], NAMES[5:7]), (NAMES[:4], NAMES[5:8]))
    with caplog.at_level(logging.INFO):
        folds = folds_of(workspace, record_of(NAMES), file=file)
    assert [len(fold.val) for fold in folds] == [2, 3]
    assert "mine.json leaves 2 of 10 cases out: ['case_08', 'case_09']" in caplog.text
    assert "5 cases are validated in no fold, 2 in several" in caplog.text
    folds_of(workspace, record_of(NAMES), file=file, folds="full")
    assert "folds=full trains on every case, also on the 2 that" in caplog.text


def test_a_file_stays_in_use_until_it_is_left_out(workspace, tmp_path):
    file = own_file(tmp_path, (NAMES[:5], NAMES[5:7]))
    folds = folds_of(workspace, record_of(NAMES), file=file)
    assert folds_of(workspace, record_of(NAMES), file=str(workspace.splits)) == folds
    with pytest.raises(UsageError, match=r"folds: 1 there, 5 now\n  cases in no fold there: \['case_07', 'case_08'"):
        folds_of(workspace, record_of(NAMES))


def test_what_never_ends_and_what_is_too_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (Path("/dev/zero"), tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match=f"split.file: {re.escape(str(place))} is no regular file"):
            read_splits(place)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**28 + 1)  # a hole, which takes no room
    with pytest.raises(UsageError, match=r"split.file: .*large.json has 268435457 bytes, more than the 268435456 that"):
        read_splits(tmp_path / "large.json")


def test_a_file_that_is_at_fault_is_named(workspace, tmp_path):
    with pytest.raises(UsageError, match=r"split.file: there is no file .*nowhere.json"):
        folds_of(workspace, record_of(NAMES), file=str(tmp_path / "nowhere.json"))
    file = own_file(tmp_path, (["case_00"], ["elsewhere"]))
    with pytest.raises(DataError, match=rf"{file}: fold 0 names cases in 'val' .* does not have: \['elsewhere'\]"):
        folds_of(workspace, record_of(NAMES), file=file)
    Path(file).write_text('[{"train": ["case_00"], "test": []}]')
    with pytest.raises(UsageError, match=rf"unknown key '{re.escape(file)}\[0\].test'"):
        folds_of(workspace, record_of(NAMES), file=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "{file} cannot be read as JSON: .*"),
        ("[]", "{file} holds no fold"),
        ('{"train": [], "val": []}', "{file} must be a list, got .*"),
        ('["case_00"]', r"{file}\[0\] must be a mapping of Fold, got 'case_00'"),
        ('[{"train": ["case_00"]}]', r"missing key '{file}\[0\].val'"),
        ('[{"train": "case_00", "val": []}]', r"{file}\[0\].train must be a list, got 'case_00'"),
    ],
)
def test_a_file_of_another_form_is_told_the_form(workspace, tmp_path, content, message):
    file = own_file(tmp_path)
    Path(file).write_text(content)
    form = re.escape('; expected [{"train": ["case1", ...], "val": ["case2", ...]}, ...]')
    with pytest.raises(UsageError, match=f"^{message.replace('{file}', re.escape(file))}{form}$"):
        folds_of(workspace, record_of(NAMES), file=file)


def test_a_file_that_leaks_is_refused(workspace, tmp_path):
    file = own_file(tmp_path, ([FRAMES[0], FRAMES[4]], [FRAMES[1]]))
    message = (
        r"mine.json: fold 0 trains on patient000_frame01 and validates on patient000_frame12, both of 'patient000'; "
        r"mend the file, or leave it out and use split.kind=group"
    )
    with pytest.raises(DataError, match=message):
        folds_of(workspace, record_of(FRAMES), file=file, group_pattern=PATIENT)
    with pytest.raises(DataError, match=r"mine.json: .* whose image files are identical; remove one of the two"):
        folds_of(workspace, record_of(FRAMES, {FRAMES[1]: FRAMES[4]}), file=file)


# --- what is there already -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({}, {"num_folds": 4}, "  split.num_folds: 5 there, 4 now\n"),
        ({}, {"seed": 1}, "  split.seed: 12345 there, 1 now\n"),
        ({}, {"kind": "group", "group_pattern": PATIENT}, "  split.kind: random there, group now\n"),
        ({}, {"kind": "leave_one_out"}, "  split.kind: random there, leave_one_out now\n"),
        ({"kind": "leave_one_out"}, {}, "  split.kind: leave_one_out there, random now\n"),
        (
            {"kind": "group", "group_pattern": PATIENT, "num_folds": 3},
            {"kind": "stratified", "group_pattern": PATIENT},
            "  split.kind: group there, stratified now\n  split.num_folds: 3 there, 5 now\n",
        ),
        (
            {"kind": "group", "group_pattern": PATIENT},
            {"kind": "group", "group_pattern": r"frame(\d)", "num_folds": 2},
            "  folds: 5 there, 2 now\n",
        ),
        ({}, {"file": "FILE"}, "  split.file: not given there, FILE now\n"),
    ],
)
def test_other_folds_are_refused_with_what_changed(workspace, tmp_path, before, now, said):
    presence = {name: frozenset({i % 3}) for i, name in enumerate(FRAMES)}
    folds_of(workspace, record_of(FRAMES), lambda: presence, **before)
    if "file" in now:
        now = {"file": own_file(tmp_path, (FRAMES[:5], FRAMES[6:8]))}
        said = said.replace("FILE", now["file"])
    kept = workspace.splits.read_text()
    with pytest.raises(UsageError) as error:
        folds_of(workspace, record_of(FRAMES), lambda: presence, **now)
    assert said in str(error.value)
    assert f"split.file={workspace.splits}" in str(error.value)
    assert "delete it (nothing has been trained on it yet)" in str(error.value)
    assert workspace.splits.read_text() == kept
    workspace.splits.unlink()
    assert folds_of(workspace, record_of(FRAMES), lambda: presence, **now)


def test_the_refusal_says_whether_folds_are_trained_already(workspace, tmp_path):
    folds = folds_of(workspace, record_of(NAMES))
    workspace.run("other", "default", "planned", "2d", 0).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"for other folds give another output_root=, since .* under whatever name="):
        folds_of(workspace, record_of(NAMES), seed=1)
    assert folds_of(workspace, record_of(NAMES), seed=1, file=str(workspace.splits)) == folds
    assert folds_of(Workspace(tmp_path / "another"), record_of(NAMES), seed=1) != folds


def test_folds_are_made_anew_when_cases_come_or_go(workspace, caplog):
    folds_of(workspace, record_of(NAMES))
    with caplog.at_level(logging.INFO):
        assert folds_of(workspace, record_of([*NAMES, "case_10"])) == random_splits([*NAMES, "case_10"], 5, 12345)
        assert folds_of(workspace, record_of(NAMES[1:])) == random_splits(NAMES[1:], 5, 12345)
    assert caplog.text.count("is made anew, the dataset's cases changed") == 2


@pytest.mark.parametrize("damage", ["[{", '{"train": []}', '[{"train": ["case_00"]}]', "\ufffd"])
def test_a_damaged_file_of_ours_says_how_it_is_made_anew(workspace, damage):
    folds_of(workspace, record_of(NAMES))
    workspace.splits.write_text(damage)
    for read in (lambda: folds_of(workspace, record_of(NAMES)), lambda: read_own_splits(workspace.splits, NAMES)):
        with pytest.raises(
            ArtefactError, match=rf"{workspace.splits}.*; delete {workspace.splits} and it is made anew"
        ):
            read()


# --- ACDC: 40 volumes of 20 patients ---------------------------------------------------------------------------------


def acdc(tmp_path: Path, folds: object = "cv", **split: object) -> Job:
    task = TaskSettings(name="ACDC", folder=str(ACDC.resolve()))
    settings = ExperimentSettings(task=task, output_root=str(tmp_path), split=SplitSettings(**split), folds=folds)
    return prepare(settings)


@pytest.mark.skipif(not ACDC.is_dir(), reason=f"needs real data in {ACDC}; set SEGFW_TEST_DATA")
def test_two_frames_of_a_patient_leak_at_random_and_not_by_group(tmp_path, caplog):
    job = acdc(tmp_path / "random")
    patients = {case.name: case.name.split("_")[0] for case in job.dataset.cases}
    assert len(set(patients.values())) == 20
    leak = find_leak(job.splits, patients)
    assert leak is not None
    assert "split.kind=group 'split.group_pattern=(.+)_'" in caplog.text
    with pytest.raises(DataError, match=f"fold 0 trains on {leak.train} and validates on {leak.val}, both of "):
        acdc(tmp_path / "refused", group_pattern=PATIENT)
    grouped = acdc(tmp_path / "group", kind="group", group_pattern=PATIENT)
    assert find_leak(grouped.splits, patients) is None
    assert [len(fold.val) for fold in grouped.splits] == [8] * 5


@pytest.mark.skipif(not ACDC.is_dir(), reason=f"needs real data in {ACDC}; set SEGFW_TEST_DATA")
def test_a_fold_per_patient_and_none_beyond(tmp_path):
    job = acdc(tmp_path, folds=(19,), kind="leave_one_out", group_pattern=PATIENT)
    assert job.cases_of(19)[1] == ("patient084_frame01", "patient084_frame10")
    with pytest.raises(UsageError, match="fold 20 is not among 0 to 19"):
        acdc(tmp_path, folds=(20,), kind="leave_one_out", group_pattern=PATIENT)


@pytest.mark.parametrize("split", [{}, {"kind": "group", "group_pattern": PATIENT}])
def test_an_inner_split_never_reads_the_folds_own_validation_cases(workspace, split):
    settings = ExperimentSettings(split=SplitSettings(inner_share=0.25, **split))
    folds = folds_of(workspace, record_of(FRAMES), **split)
    job = Job(settings, workspace, record_of(FRAMES))
    for number, fold in enumerate(folds):
        train, val = job.cases_of(number)
        assert (sorted((*train, *val)), len(val)) == (sorted(fold.train), 4)
        if split:
            assert not {name[:10] for name in train} & {name[:10] for name in val}
    assert len({job.cases_of(number)[1] for number in range(5)}) == 5
    assert job.cases_of("full") == (tuple(FRAMES), ())
    assert Job(ExperimentSettings(), workspace, record_of(FRAMES)).cases_of(0) == (folds[0].train, folds[0].val)
