"""nnU-Net's plans: older keys, keys that may be missing and inheritance are read; what has no equivalent is refused."""

import pytest

from segfw.core.errors import ArtefactError
from segfw.interop.nnunet import plans_to_json, read_plans
from tests.interop.golden_plans import CASE, GOLDEN, edited


def age(content, class_name=None):
    """Bring a plans file back to the keys of the first version 2, which had no `architecture`, and its class's name."""
    for entry in content["configurations"].values():
        if "architecture" not in entry:
            continue
        architecture = entry.pop("architecture")
        arguments = architecture["arch_kwargs"]
        counts = arguments.get("n_conv_per_stage") or arguments["n_blocks_per_stage"]
        entry |= {
            "UNet_class_name": class_name or architecture["network_class_name"].rpartition(".")[2],
            "UNet_base_num_features": 32,
            "n_conv_per_stage_encoder": counts,
            "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [sum(row[axis] == 2 for row in arguments["strides"]) for axis in range(2)],
            "pool_op_kernel_sizes": arguments["strides"],
            "conv_kernel_sizes": arguments["kernel_sizes"],
        }


def test_plans_of_older_versions_are_read(tmp_path):
    def change(content):
        age(content)
        for entry in content["configurations"].values():
            if entry.pop("num_pool_per_axis", None):
                entry["unet_max_num_features"] = 512 if len(entry["patch_size"]) == 2 else 320
        by_channel = content.pop("foreground_intensity_properties_per_channel")
        content["foreground_intensity_properties_by_modality"] = by_channel

    assert read_plans(edited(tmp_path, change)) == read_plans(CASE / "plans_default.json")


@pytest.mark.parametrize("name", ["plans_default.json", "plans_ResEncM.json", "plans_ResEncXL.json"])
@pytest.mark.parametrize("case", ["hippocampus", "case038", "case044"])
def test_older_plans_of_any_planner_are_read_without_the_largest_number_of_features(tmp_path, case, name):
    source = GOLDEN / case / name
    assert read_plans(edited(tmp_path, age, source)) == read_plans(source)


def test_an_older_network_without_equivalent_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match=r"configurations\.2d: no equivalent of the network 'ResidualUNet'"):
        read_plans(edited(tmp_path, lambda content: age(content, "ResidualUNet")))


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


def test_arguments_that_change_nothing_are_accepted(tmp_path):
    given = {"nonlin_first": False, "stem_channels": 32, "block": "a.residual.BasicBlockD", "bottleneck_channels": None}
    given |= {"stochastic_depth_p": 0.0, "squeeze_excitation": False, "squeeze_excitation_reduction_ratio": 0.0625}

    def add(content):
        for key, value in given.items():
            at(*NETWORK, key, value=value)(content)

    assert read_plans(edited(tmp_path, add)) == read_plans(CASE / "plans_default.json")


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
        (at(*NETWORK, "nonlin_first", value=True), "nonlin_first: no equivalent of True; it must be null or false"),
        (at(*NETWORK, "stochastic_depth_p", value=0.1), "stochastic_depth_p: no equivalent of 0.1; it must be 0.0"),
        (at(*NETWORK, "squeeze_excitation", value=True), "squeeze_excitation: no equivalent of True"),
        (at(*NETWORK, "bottleneck_channels", value=64), "bottleneck_channels: no equivalent of 64"),
        (
            at(*NETWORK, "stem_channels", value=16),
            "stem_channels must be null or the first stage's 32 features, got 16",
        ),
        (at(*NETWORK, "block", value="a.blocks.BottleneckD"), "block must be BasicBlockD, got 'a.blocks.BottleneckD'"),
        (at(*NETWORK, "pool_type", value="avg"), "pool_type: no equivalent of 'avg'"),
        (at(*NETWORK, "new_in_its_next_version", value=0.5), "new_in_its_next_version: no equivalent of 0.5"),
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
