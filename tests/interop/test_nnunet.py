"""nnU-Net's JSON files: descriptions and fingerprints of datasets, plans as files, and what is no such file."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import ArtefactError, DataError, UsageError
from segfw.core.planning.planning import make_plan
from segfw.interop.nnunet import (
    plans_to_json,
    read_dataset_json,
    read_fingerprint,
    read_plans,
    write_fingerprint,
    write_plans,
)
from tests.interop.golden_plans import CASE, GOLDEN, edited


def description(tmp_path, **changes):
    """Write a dataset description; None removes a key."""
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "numTraining": 3} | changes
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def test_dataset_descriptions_with_regions_and_older_keys(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    path = description(
        tmp_path, channel_names=None, modality={"0": "T1", "1": "T2"}, labels=labels, regions_class_order=[1, 2]
    )
    dataset = read_dataset_json(path)
    assert dataset.channel_names == ("T1", "T2")
    assert dataset.labels.foreground == (("whole", (1, 2)), ("core", (2,)))
    assert (dataset.name, dataset.num_training, dataset.file_ending) == (tmp_path.name, 3, ".nii.gz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": None, "modality": None},
            r"the keys \['labels'\] are missing or null; it has \['channel_names', 'numTraining'\]$",
        ),
        ({"channel_names": None}, r"\['channel_names'\] are missing or null; it has \['labels', 'numTraining'\]$"),
        ({"numTraining": -1}, "numTraining must be a number of cases, got -1"),
        ({"labels": {"background": 0, "a": []}}, r"the labels \['a'\] have no value"),
        ({"numTraining": "many"}, "numTraining must be an integer, got 'many'"),
        ({"labels": {"background": 0, "a": "one"}}, "labels.values.a must be an integer, got 'one'"),
        ({"labels": {"background": 0, "a": 2}}, r"renumber them, .* with 'task\.remap=\{2: 1\}'"),
        ({"channel_names": "CT"}, "channel_names must map indices to names, got 'CT'"),
    ],
)
def test_bad_dataset_descriptions_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_dataset_json(description(tmp_path, **changes))


def test_channels_are_matched_by_index_whatever_the_order_of_the_file(tmp_path):
    source = GOLDEN / "case000" / "dataset_fingerprint.json"
    content = json.loads(source.read_text())
    key = "foreground_intensity_properties_per_channel"
    content[key] = dict(reversed(content[key].items()))
    (tmp_path / "fingerprint.json").write_text(json.dumps(content))
    assert read_fingerprint(tmp_path / "fingerprint.json") == read_fingerprint(source)


def test_a_written_fingerprint_is_the_one_that_was_read(tmp_path):
    source = CASE / "dataset_fingerprint.json"
    write_fingerprint(read_fingerprint(source), tmp_path / "dataset_fingerprint.json")
    assert json.loads((tmp_path / "dataset_fingerprint.json").read_text()) == json.loads(source.read_text())


OPTIONAL_NAMES = {"plans_name", "dataset_name", "image_reader_writer"}


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*/plans_*.json")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_reading_then_writing_gives_the_same_plans(golden):
    def numbers(content):
        for entry in content["configurations"].values():
            entry.pop("data_identifier", None)
        return {key: value for key, value in content.items() if key not in OPTIONAL_NAMES}

    theirs = json.loads(golden.read_text())
    ours = json.loads(json.dumps(plans_to_json(read_plans(golden))))
    assert list(ours) == list(theirs)
    assert numbers(ours) == numbers(theirs)


def test_names_of_a_plain_and_a_residual_plan():
    plain, residual = (
        plans_to_json(read_plans(CASE / f"plans_{name}.json"), ".png") for name in ("default", "ResEncL")
    )
    assert plain["plans_name"] == "nnUNetPlans"
    assert residual["plans_name"] == "nnUNetResEncUNetLPlans"
    assert plain["image_reader_writer"] == "NaturalImage2DIO"
    data = {name: entry.get("data_identifier") for name, entry in residual["configurations"].items()}
    assert data["2d"] == "nnUNetPlans_2d"
    assert data["3d_lowres"] == "nnUNetResEncUNetLPlans_3d_lowres"
    assert data["3d_cascade_fullres"] is None


def test_written_plans_hold_integers_and_floats_as_the_reference_does(tmp_path):
    dataset, fingerprint = read_dataset_json(CASE / "dataset.json"), read_fingerprint(CASE / "dataset_fingerprint.json")
    plan = make_plan(dataset, fingerprint)
    write_plans(plan, tmp_path / "plans.json")
    assert read_plans(tmp_path / "plans.json", dataset) == plan
    entries = json.loads((tmp_path / "plans.json").read_text())["configurations"]
    assert {type(edge) for edge in entries["3d_lowres"]["median_image_size_in_voxels"]} == {int}
    assert {type(edge) for edge in entries["3d_fullres"]["median_image_size_in_voxels"]} == {float}
    assert entries["3d_cascade_fullres"] == {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}


def test_plans_need_the_dataset_description(tmp_path):
    path = edited(tmp_path, lambda content: None)
    path.with_name("dataset.json").unlink()
    with pytest.raises(ArtefactError, match=r"does not name its labels: put dataset.json beside it"):
        read_plans(path)
    assert read_plans(path, read_dataset_json(CASE / "dataset.json")) == read_plans(CASE / "plans_default.json")


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*absent.json"):
        read_fingerprint(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match=r"broken.json is no JSON"):
        read_fingerprint(tmp_path / "broken.json")
    (tmp_path / "partial.json").write_text('{"spacings": []}')
    with pytest.raises(DataError, match=r"the keys \['shapes_after_crop', "):
        read_fingerprint(tmp_path / "partial.json")


READ = {
    "dataset.json": read_dataset_json,
    "dataset_fingerprint.json": read_fingerprint,
    "plans_ResEncM.json": read_plans,
    "plans_default.json": read_plans,
}


@pytest.mark.parametrize("read", READ.values())
def test_what_is_no_path_or_no_file_is_refused(tmp_path, read):
    for wrong in ({}, None, 3):
        with pytest.raises(UsageError, match=rf"path must be text or a Path, got .*: {wrong}"):
            read(wrong)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)
    with pytest.raises(DataError, match="cannot be read: embedded null byte"):
        read("a\0b")
    for path in (tmp_path / "deep.json", tmp_path / "long.json"):
        (tmp_path / "deep.json").write_text("[" * 100_000)
        (tmp_path / "long.json").write_text("9" * 5000)
        with pytest.raises(DataError, match="is no JSON"):
            read(path)
    with pytest.raises(UsageError, match=r"dataset must be a Dataset, .* got str"):
        read_plans(CASE / "plans_default.json", "dataset.json")


def places(content, place=()):
    """List the place of every value, containers too."""
    yield place
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from places(content[key], (*place, key))


odd = st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.sampled_from([10**400, "", "2d", "2", 1e300])
odd_values = st.recursive(odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@pytest.mark.parametrize("name", READ)
@given(data=st.data())
def test_any_edit_is_read_or_refused(tmp_path_factory, name, data):
    folder = tmp_path_factory.getbasetemp() / "edited"
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text((CASE / "dataset.json").read_text())
    content = json.loads((CASE / name).read_text())
    place = data.draw(st.sampled_from(list(places(content))[1:]))
    parent = content
    for step in place[:-1]:
        parent = parent[step]
    if isinstance(parent, dict) and data.draw(st.booleans()):
        del parent[place[-1]]
    else:
        parent[place[-1]] = data.draw(odd_values)
    (folder / name).write_text(json.dumps(content))
    with contextlib.suppress(DataError, ArtefactError):
        assert type(READ[name](folder / name)) is type(READ[name](CASE / name))


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"plan must be a Plan, .* got NoneType"):
        write_plans(None, tmp_path / "plans.json")
    plan = make_plan(read_dataset_json(CASE / "dataset.json"), read_fingerprint(CASE / "dataset_fingerprint.json"))
    with pytest.raises(UsageError, match=f"path must be the plans file to write, {tmp_path} is a folder"):
        write_plans(plan, tmp_path)
