"""nnU-Net's JSON files."""

import contextlib
import json
from pathlib import Path

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

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"
CASE = GOLDEN / "case038"  # regions, a cascade
OPTIONAL_NAMES = {"plans_name", "dataset_name", "image_reader_writer"}


def edited(tmp_path, change, source=CASE / "plans_default.json"):
    """Copy a golden plans file, changed by `change`, with its dataset description beside it."""
    content = json.loads(source.read_text())
    change(content)
    (tmp_path / "dataset.json").write_text((source.parent / "dataset.json").read_text())
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(content))
    return path


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


def test_plans_of_older_versions_are_read(tmp_path):
    def age(content):
        for entry in content["configurations"].values():
            if "architecture" not in entry:
                continue
            arguments = entry.pop("architecture")["arch_kwargs"]
            entry["UNet_class_name"] = "PlainConvUNet"
            entry["UNet_base_num_features"] = 32
            entry["unet_max_num_features"] = 512 if len(entry["patch_size"]) == 2 else 320
            entry["n_conv_per_stage_encoder"] = arguments["n_conv_per_stage"]
            entry["n_conv_per_stage_decoder"] = arguments["n_conv_per_stage_decoder"]
            entry["pool_op_kernel_sizes"] = arguments["strides"]
            entry["conv_kernel_sizes"] = arguments["kernel_sizes"]
        content["foreground_intensity_properties_by_modality"] = content.pop(
            "foreground_intensity_properties_per_channel"
        )

    assert read_plans(edited(tmp_path, age)) == read_plans(CASE / "plans_default.json")


def age(content, class_names):
    """Bring a plans file back to the keys of the first version 2, which had no `architecture`."""
    for entry in content["configurations"].values():
        if "architecture" not in entry:
            continue
        architecture = entry.pop("architecture")
        arguments = architecture["arch_kwargs"]
        counts = arguments.get("n_conv_per_stage") or arguments["n_blocks_per_stage"]
        entry |= {
            "UNet_class_name": class_names[architecture["network_class_name"].rpartition(".")[2]],
            "UNet_base_num_features": 32,
            "n_conv_per_stage_encoder": counts,
            "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [sum(row[axis] == 2 for row in arguments["strides"]) for axis in range(2)],
            "pool_op_kernel_sizes": arguments["strides"],
            "conv_kernel_sizes": arguments["kernel_sizes"],
        }


@pytest.mark.parametrize("name", ["plans_default.json", "plans_ResEncM.json", "plans_ResEncXL.json"])
@pytest.mark.parametrize("case", ["hippocampus", "case038", "case044"])
def test_older_plans_of_any_planner_are_read_without_the_largest_number_of_features(tmp_path, case, name):
    classes = {"PlainConvUNet": "PlainConvUNet", "ResidualEncoderUNet": "ResidualEncoderUNet"}
    source = GOLDEN / case / name
    assert read_plans(edited(tmp_path, lambda content: age(content, classes), source)) == read_plans(source)


def test_an_older_network_without_equivalent_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match=r"configurations\.2d: no equivalent of the network 'ResidualUNet'"):
        read_plans(edited(tmp_path, lambda content: age(content, {"PlainConvUNet": "ResidualUNet"})))


def test_what_planning_does_not_need_may_be_missing(tmp_path):
    def strip(content):
        for key in ("plans_name", "image_reader_writer", "label_manager"):
            del content[key]
        for entry in content["configurations"].values():
            for key in ("data_identifier", "preprocessor_name"):
                entry.pop(key, None)
            if "architecture" in entry:
                arguments = entry["architecture"]["arch_kwargs"]
                for key in ("n_stages", "conv_op", "dropout_op", "dropout_op_kwargs", "nonlin_kwargs"):
                    del arguments[key]
                del entry["architecture"]["_kw_requires_import"], arguments["norm_op_kwargs"]["eps"]
                for role in ("data", "seg", "probabilities"):
                    for key in ("order_z", "force_separate_z", "is_seg"):
                        del entry[f"resampling_fn_{role}_kwargs"][key]

    assert read_plans(edited(tmp_path, strip)) == read_plans(CASE / "plans_default.json")


def test_a_planner_of_ones_own_is_named_by_its_plans(tmp_path):
    def rename(content):
        content["plans_name"] = "minePlans"
        del content["experiment_planner_used"]

    plan = read_plans(edited(tmp_path, rename))
    assert plan.planner == "minePlans"
    assert plans_to_json(plan)["plans_name"] == "minePlans"


def test_single_numbers_stand_for_all_stages(tmp_path):
    def shorten(content):
        arguments = content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
        arguments |= {"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 2, "kernel_sizes": 3}

    source = GOLDEN / "hippocampus" / "plans_default.json"
    assert read_plans(edited(tmp_path, shorten, source)) == read_plans(source)


def test_inheritance_is_resolved_through_several_levels(tmp_path):
    def extend(content):
        content["configurations"]["mine"] = {"inherits_from": "3d_fullres", "batch_size": 7}
        content["configurations"]["yours"] = {"inherits_from": "mine", "patch_size": [64, 64, 64]}

    plan = read_plans(edited(tmp_path, extend))
    assert plan.configuration("yours").batch_size == 7
    assert plan.configuration("yours").patch_size == (64, 64, 64)
    assert plan.configuration("3d_cascade_fullres").previous_stage == "3d_lowres"


def at(*keys, value):
    """Make a change that sets one nested key."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


FULL = ("configurations", "3d_fullres")
NETWORK = (*FULL, "architecture", "arch_kwargs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            at(*FULL, "inherits_from", value="3d_cascade_fullres"),
            "circle: 3d_fullres -> 3d_cascade_fullres -> 3d_fullres",
        ),
        (
            at("configurations", "3d_cascade_fullres", "inherits_from", value="3d"),
            "inherits from '3d', which is not among",
        ),
        (at(*FULL, "resampling_fn_data", value="resample_torch_fornnunet"), "got 'resample_torch_fornnunet'"),
        (at(*FULL, "resampling_fn_seg_kwargs", "order_z", value=1), "order_z and force_separate_z differ"),
        (at(*FULL, "normalization_schemes", value=["Mine"]), "no equivalent of 'Mine'"),
        (
            at(*FULL, "architecture", "network_class_name", value="a.b.Primus"),
            "no equivalent of the network 'a.b.Primus'",
        ),
        (at(*NETWORK, "norm_op", value="torch.nn.BatchNorm3d"), "norm_op must be an InstanceNorm"),
        (at(*NETWORK, "norm_op_kwargs", value={"eps": 1e-05}), "norm_op_kwargs must be eps 1e-05 and affine"),
        (at(*NETWORK, "norm_op_kwargs", value={"eps": 0.1, "affine": True}), "got {'eps': 0.1, 'affine': True}"),
        (
            at(*NETWORK, "nonlin_kwargs", value={"negative_slope": 0.2}),
            "nonlin_kwargs must be a negative_slope of 0.01",
        ),
        (at(*NETWORK, "dropout_op", value="torch.nn.Dropout3d"), "dropout_op must be null"),
        (at(*FULL, "batch_size", value="two"), "3d_fullres.batch_size must be an integer, got 'two'"),
        (at("transpose_backward", value=[2, 1, 0]), "transpose_backward must undo"),
        (at("foreground_intensity_properties_per_channel", value={"1": {}}), "must map 0, 1, ... to statistics"),
        (
            lambda content: content["configurations"]["2d"].pop("spacing"),
            r"the key 'configurations\.2d\.spacing' is missing",
        ),
        (at(*FULL, "preprocessor_name", value="Mine"), r"3d_fullres\.preprocessor_name: no equivalent of 'Mine'"),
        (at("label_manager", value="Mine"), "label_manager: no equivalent of 'Mine'"),
        (at(*FULL, value=3), r"configurations\.3d_fullres must be an object, got 3"),
        (at(*FULL, "architecture", value=None), r"3d_fullres\.architecture must be an object, got None"),
        (at(*NETWORK, "strides", value=2), r"arch_kwargs\.strides must be a list, got 2"),
        (at(*NETWORK, "strides", value=[]), r"arch_kwargs\.strides must be a list of strides for each stage"),
        (at(*FULL, "normalization_schemes", value=None), r"normalization_schemes must be a list, got None"),
        (at("experiment_planner_used", value=["a"]), r"experiment_planner_used must be text, got \['a'\]"),
    ],
)
def test_plans_without_equivalent_are_refused_by_name(tmp_path, change, message):
    with pytest.raises(ArtefactError, match=message):
        read_plans(edited(tmp_path, change))


def test_plans_need_the_dataset_description(tmp_path):
    path = edited(tmp_path, lambda content: None)
    path.with_name("dataset.json").unlink()
    with pytest.raises(ArtefactError, match=r"does not name its labels: put dataset.json beside it"):
        read_plans(path)
    assert read_plans(path, read_dataset_json(CASE / "dataset.json")) == read_plans(CASE / "plans_default.json")


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
