"""Plans as YAML."""

import copy
import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.planning.checks import check_plan
from segfw.core.planning.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.planning.planners import estimated_gpu_memory_gb
from segfw.core.planning.planning import make_plan
from segfw.core.planning.spacing import LARGEST_SPACING, SMALLEST_SPACING
from segfw.core.support.strict_yaml import dump_yaml

FILE = "plans/default.yaml"
LABELS = LabelSet({"background": 0, "whole tumor": (1, 2), "yes": 2}, (1, 2))
STATISTICS = IntensityStatistics(1e-7, 0.1, 1 / 3, -1024.0, 3071.0, 1e20, -0.0)
PLAN = make_plan(
    Dataset("Größe", ("CT",), LABELS, 60),
    Fingerprint(((1.0, 0.7675781, 0.7675781),), ((432, 512, 512),), (STATISTICS,), 1.0),
)
TEXT = plan_to_yaml(PLAN)


def test_round_trip_of_a_plan_with_regions_and_cascade():
    assert list(PLAN.configurations) == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    assert plan_from_yaml(TEXT) == PLAN


number = st.floats(allow_nan=False, allow_infinity=False)
millimeters = st.floats(SMALLEST_SPACING, LARGEST_SPACING)


@settings(max_examples=50, deadline=None)
@given(number, number, millimeters, st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1))
def test_round_trip_is_exact_for_any_number_and_name(mean, low, spacing, name):
    statistics = replace(STATISTICS, mean=mean, percentile_00_5=low, percentile_99_5=max(low, 0.0))
    flat = replace(PLAN.configuration("2d"), spacing=(spacing, 1.0))
    plan = replace(
        PLAN, dataset_name=name, channel_names=(name,), intensities=(statistics,), configurations={"2d": flat}
    )
    assert plan_from_yaml(plan_to_yaml(plan)) == plan


def test_people_can_read_it():
    assert "\n    patch_size: [128, 128, 128]\n" in TEXT
    assert "strides: [[1, 1, 1], [2, 2, 2]," in TEXT
    assert "whole tumor: [1, 2]" in TEXT
    blocks = [block for block in TEXT.split("\n\n") if not block.strip().startswith(("2d:", "3d_"))]
    assert all(block.lstrip().startswith("#") for block in blocks)
    assert max(len(line) for line in TEXT.splitlines() if line.lstrip().startswith("#")) <= 120


def test_numbers_typed_by_hand_in_exponent_form():
    edited = TEXT.replace("spacing: [1.0, 0.7675781, 0.7675781]", "spacing: [1e0, 7e-1, 1]")
    assert plan_from_yaml(edited).configuration("3d_fullres").spacing == (1.0, 0.7, 1.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("planner: default", "plannr: default", r"plan.yaml: unknown key 'plannr', did you mean 'planner'"),
        (
            "batch_size: 2",
            "batchsize: 2",
            r"unknown key 'configurations.3d_lowres.batchsize', did you mean 'batch_size'",
        ),
        ("batch_size: 2", "batch_size: two", r"configurations.3d_lowres.batch_size must be an integer, got 'two'"),
        ("batch_size: 2", "batch_size: 0", r"configurations.3d_lowres.batch_size must be at least 1, got 0"),
        ("batch_size: 2", "batch_size: 2\n    batch_size: 3", r"'batch_size' is given twice"),
        (
            "patch_size: [128, 128, 128]",
            "patch_size: [128, 100, 128]",
            r"configurations.3d_lowres.patch_size \(128, 100, 128\) must be divisible by .* axis 1 has 100",
        ),
        ("[ct]", "[ct, ct]", r"configurations.2d.normalization_schemes needs one entry for each of 1 channels"),
        ("[ct]", "[mri]", r"configurations.2d.normalization_schemes must be among .*got \['mri'\]"),
        ("transpose_forward: [0, 1, 2]", "transpose_forward: [0, 1, 1]", r"an order of the axes .* got \(0, 1, 1\)"),
        ("transpose_backward: [0, 1, 2]", "transpose_backward: [1, 0, 2]", r"must undo transpose_forward \(0, 1, 2\)"),
        (
            "next_stage: 3d_cascade_fullres",
            "next_stage: 3d_cascade",
            r"3d_lowres.next_stage must be one of .*3d_cascade'",
        ),
        ("[[1, 1], [2, 2]", "[[2, 2], [2, 2]", r"strides"),
        ("background: 0", "background: 1", r"labels"),
        ("configurations:", "configurations: [", r"plan.yaml is no YAML"),
        (TEXT, "", r"plan.yaml is empty"),
        (TEXT, "[]", r"must be a mapping of Plan, got \[\]"),
    ],
)
def test_mistakes_are_named_with_their_place(old, new, message):
    assert old in TEXT
    with pytest.raises(UsageError, match=message):
        plan_from_yaml(TEXT.replace(old, new, 1), "plan.yaml")


# (old, new, message): `old` is replaced where it first occurs after the line that begins the configuration
@pytest.mark.parametrize(
    ("configuration", "old", "new", "message"),
    [
        ("2d", "patch_size: [512, 512]", "patch_size: [512]", "patch_size needs 2 entries like spacing, got (512,)"),
        ("2d", "patch_size: [512, 512]", "patch_size: [512, 0]", "patch_size (512, 0) must be divisible by"),
        ("2d", "patch_size: [512, 512]", "patch_size: 512", "patch_size must be a list, got 512"),
        ("2d", "batch_size: 12", "batch_size: 0", "batch_size must be at least 1, got 0"),
        ("2d", "batch_size: 12", "batch_size: 1.5", "batch_size must be an integer, got 1.5"),
        ("2d", "batch_size: 12", "batch_size: true", "batch_size must be an integer, got True"),
        (
            "2d",
            "batch_size: 12",
            "batch_size: 2147483648",
            "batch_size must be between 1 and 2147483647, got (2147483648,)",
        ),
        ("2d", "batch_size: 12", "", "missing key 'configurations.2d.batch_size'"),
        ("2d", "spacing: [0.", "spacing: [.nan, 0.", "spacing must be positive and finite, got (nan, 0."),
        ("2d", "spacing: [0.", "spacing: [1e999, 0.", "spacing must be positive and finite, got (inf, 0."),
        ("2d", "spacing: [0.", "spacing: [-1.0, 0.", "spacing must be positive and finite, got (-1.0, 0."),
        (
            "2d",
            "spacing: [0.7675781",
            "spacing: [1e-300",
            "spacing must be between 1e-06 and 1e+07 mm, got (1e-300",
        ),
        (
            "2d",
            "spacing: [0.7675781",
            "spacing: [10000001",
            "spacing must be between 1e-06 and 1e+07 mm, got (10000001.0",
        ),
        (
            "2d",
            "kernel_sizes: [[3, 3],",
            "kernel_sizes: [[3, 33],",
            "kernel_sizes must be between 1 and 31, got ((3, 33),",
        ),
        ("2d", "spacing: [0.", "spacing: [1, 1, 0.", "spacing needs 2 or 3 entries"),
        ("2d", "spacing: [0.", f"spacing: [{10**400}, 0.", "spacing[0] must be a number below 1e308"),
        ("2d", "[32, 64,", "[32, -64,", "features_per_stage must be between 1 and 65536, got (32, -64,"),
        ("2d", "[32, 64,", "[64,", "features_per_stage needs 8 entries (8 stages), got 7"),
        ("2d", "kernel_sizes: [[3, 3],", "kernel_sizes: [[3, 2],", "kernel_sizes must be odd, got ((3, 2),"),
        ("2d", "kernel_sizes: [[3, 3],", "kernel_sizes: [[3],", "kernel_sizes need 2 entries per stage, got ((3,),"),
        ("2d", "kernel_sizes: [[3, 3],", "kernel_sizes: [3,", "kernel_sizes[0] must be a list, got 3"),
        ("2d", "strides: [[1, 1],", "strides: [[2, 1],", "strides must be 1 in the first stage"),
        ("2d", "strides: [[1, 1], [2, 2]", "strides: [[1, 1], [2]", "strides need 2 entries per stage"),
        ("2d", "strides: [[1, 1], [2, 2]", "strides: [[1, 1], [0, 2]", "strides must be at least 1"),
        ("2d", "n_conv_per_stage: [2,", "n_conv_per_stage: [0,", "n_conv_per_stage must be between 1 and 1000"),
        ("2d", "n_conv_per_stage_decoder: [2,", "n_conv_per_stage_decoder: [2, 2,", "n_conv_per_stage_decoder needs 7"),
        ("2d", "architecture: unet", "architecture: unett", "architecture must be one of ('unet', 'residual_unet', "),
        ("2d", "normalization_schemes: [ct]", "normalization_schemes: [tc]", "normalization_schemes must be among"),
        (
            "2d",
            "use_mask_for_norm: [false]",
            "use_mask_for_norm: []",
            "use_mask_for_norm needs one entry for each",
        ),
        ("2d", "use_mask_for_norm: [false]", "use_mask_for_norm: [no]", "use_mask_for_norm[0] must be true or false"),
        ("2d", "order_image: 3", "order_image: 6", "resampling.order_image must be a spline order from 0 to 5, got 6"),
        ("2d", "order_image: 3", "order_imag: 3", "resampling.order_imag', did you mean 'order_image'"),
        ("3d_lowres", "median_image_size_in_voxels: [", "median_image_size_in_voxels: [0, ", "needs 3 entries like"),
        ("3d_lowres", "previous_stage: null", "previous_stage: 3d_lowres", "previous_stage must be one of"),
        ("3d_lowres", "previous_stage: null", "previous_stage: 3d_cascade_fullres", "previous_stage goes round in a"),
        (
            "3d_cascade_fullres",
            "inherits: 3d_fullres",
            "inherits: 3d_ful",
            "inherits must be one of ['2d', '3d_lo",
        ),
        (
            "3d_cascade_fullres",
            "inherits: 3d_fullres",
            "inherits: 3d_cascade_fullres",
            "inherits goes round in a circle: 3d_cascade_fullres -> 3d_cascade_fullres",
        ),
        ("3d_cascade_fullres", "inherits: 3d_fullres", "", "missing key 'configurations.3d_cascade_fullres.spacing'"),
    ],
)
def test_the_place_in_a_configuration_is_named(configuration, old, new, message):
    head, mark, tail = TEXT.partition(f"\n  {configuration}:\n")
    assert old in tail
    with pytest.raises(UsageError) as refused:
        plan_from_yaml(head + mark + tail.replace(old, new, 1), FILE)
    assert str(refused.value).startswith(f"{FILE}: ")
    assert f"configurations.{configuration}." in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("channel_names: [CT]", "channel_names: []", "channel_names needs at least one entry, got none"),
        ("  percentile_00_5: ", "  percentile_00_5: 1e21 #", "intensities[0].percentile_00_5 must be at most"),
        ("  std: ", "  std: -1 #", "intensities[0].std must be at least 0, got -1.0"),
        ("  std: ", "  std: .nan #", "intensities[0].std must be a finite number, got nan"),
        ("after_transp: [1.0,", "after_transp: [-1.0,", "original_median_spacing_after_transp must be positive"),
        ("  2d:", "  ../2d:", "configurations.../2d: a configuration's name is made of letters"),
        (TEXT[TEXT.index("configurations:") :], "configurations: {}\n", "configurations needs at least one entry"),
        (TEXT[TEXT.index("configurations:") :], "configurations: []\n", "configurations must be a mapping, got []"),
        (TEXT[TEXT.index("configurations:") :], "configurations: {2d: 1}\n", "configurations.2d must be a mapping of"),
    ],
)
def test_what_all_configurations_share_is_checked(old, new, message):
    assert old in TEXT
    with pytest.raises(UsageError, match=re.escape(f"{FILE}: {message}")):
        plan_from_yaml(TEXT.replace(old, new, 1), FILE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"3d_fullres": {"previous_stage": "2d"}},
            "configurations.3d_fullres.previous_stage is '2d', so configurations.2d.next_stage must be '3d_fullres', "
            "got None",
        ),
        (
            {"2d": {"next_stage": "3d_fullres"}},
            "configurations.2d.next_stage is '3d_fullres', so configurations.3d_fullres.previous_stage must be '2d', "
            "got None",
        ),
        (
            {"2d": {"next_stage": "3d_fullres"}, "3d_fullres": {"previous_stage": "2d"}},
            "configurations.2d.next_stage must have as many axes as 2d, got '3d_fullres': one is 2D, the other 3D",
        ),
    ],
)
def test_a_cascade_needs_both_its_stages_to_say_so_and_the_same_axes(changes, message):
    changed = {name: replace(c, **changes.get(name, {})) for name, c in PLAN.configurations.items()}
    with pytest.raises(UsageError, match=re.escape(message)):
        check_plan(replace(PLAN, configurations=changed))


def test_no_configuration_is_called_like_the_choice_of_all():
    with pytest.raises(UsageError, match=r"configurations.auto: configurations=auto chooses all that the plan offers"):
        plan_from_yaml(TEXT + "\n  auto:\n    inherits: 3d_fullres\n", FILE)


def test_a_configuration_of_ones_own_inherits_what_it_does_not_say():
    own = "\n  mine:\n    inherits: 3d_cascade_fullres\n    previous_stage: null\n    patch_size: [64, 64, 64]\n"
    mine = plan_from_yaml(TEXT + own).configuration("mine")
    assert mine == replace(PLAN.configuration("3d_fullres"), patch_size=(64, 64, 64))


def test_the_cascade_is_written_as_what_it_changes():
    written = yaml.safe_load(TEXT)["configurations"]
    assert written["3d_cascade_fullres"] == {"inherits": "3d_fullres", "previous_stage": "3d_lowres"}
    assert not any("inherits" in written[name] for name in ("2d", "3d_lowres", "3d_fullres"))


def leaves(plain, place=()):
    """List the place of every value, containers too."""
    yield place
    for key in plain if isinstance(plain, dict) else range(len(plain)) if isinstance(plain, list) else ():
        yield from leaves(plain[key], (*place, key))


FLAT = replace(
    PLAN.configuration("2d"),
    patch_size=(16, 16),
    features_per_stage=(4, 8),
    kernel_sizes=((3, 3), (3, 3)),
    strides=((1, 1), (2, 2)),
    n_conv_per_stage=(2, 2),
    n_conv_per_stage_decoder=(2,),
)
CASCADE = {"2d": replace(FLAT, next_stage="cascade"), "cascade": replace(FLAT, previous_stage="2d", batch_size=4)}
SMALL = replace(PLAN, configurations=CASCADE)
SMALL_TEXT = plan_to_yaml(SMALL)
PLAIN = yaml.safe_load(SMALL_TEXT)
PLACES = list(leaves(PLAIN))[1:]
odd = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.integers(-2, 10)
    | st.floats()
    | st.sampled_from(["2d", "3d_fullres", "3d_lowres", "unet", "ct", "", "1e5", 10**400])
    | st.text(max_size=5)
)
values = st.recursive(odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))


def is_read_or_refused(text):
    try:
        plan = plan_from_yaml(text, FILE)
    except UsageError as error:
        return str(error).startswith(FILE)
    check_plan(plan)
    assert plan_from_yaml(plan_to_yaml(plan)) == plan
    for name in plan.configurations:
        assert estimated_gpu_memory_gb(plan, name) > 0
    return True


@settings(deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(["set", "delete", "rename", "add"]), values, st.text(max_size=8))
def test_any_edit_of_a_value_is_read_or_refused(place, kind, value, key):
    plain = copy.deepcopy(PLAIN)
    parent = plain
    for step in place[:-1]:
        parent = parent[step]
    if kind == "set" or isinstance(parent, list):
        parent[place[-1]] = value
    elif kind == "delete":
        del parent[place[-1]]
    elif kind == "rename":
        parent[key] = parent.pop(place[-1])
    else:
        parent[key] = value
    assert is_read_or_refused(dump_yaml(plain))


LINES = [n for n, line in enumerate(SMALL_TEXT.splitlines()) if line.strip() and not line.lstrip().startswith("#")]


@settings(deadline=None)
@given(
    st.sampled_from(LINES),
    st.sampled_from(["cut", "twice", "insert", "replace"]),
    st.integers(0, 100),
    st.text(alphabet="[]{}:,-#&*!|>'\"? \t0123456789.eaxyz~%@\x00", min_size=1, max_size=4),
)
def test_any_edit_of_a_line_is_read_or_refused(number, kind, column, typed):
    lines = SMALL_TEXT.splitlines()
    line, column = lines[number], column % (len(lines[number]) + 1)
    lines[number : number + 1] = {
        "cut": [],
        "twice": [line, line],
        "insert": [line[:column] + typed + line[column:]],
        "replace": [line[:column] + typed + line[column + len(typed) :]],
    }[kind]
    assert is_read_or_refused("\n".join(lines))
