"""Plans as YAML."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.dataset import Dataset
from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.planning import make_plan

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


number = st.floats(allow_nan=False)
positive = st.floats(min_value=1e-300, allow_infinity=False)


@settings(max_examples=50, deadline=None)
@given(number, number, positive, st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1))
def test_round_trip_is_exact_for_any_number_and_name(mean, low, spacing, name):
    statistics = replace(STATISTICS, mean=mean, percentile_00_5=low)
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
        ("batch_size: 2", "batch_size: 0", r"configurations.3d_lowres: batch_size must be at least 1, got 0"),
        ("batch_size: 2", "batch_size: 2\n    batch_size: 3", r"'batch_size' is given twice"),
        ("patch_size: [128, 128, 128]", "patch_size: [128, 100, 128]", r"3d_lowres: .*divisible .* axis 1 has 100"),
        ("[ct]", "[ct, ct]", r"configurations.2d.normalization_schemes needs one entry for each of 1 channels"),
        ("[ct]", "[mri]", r"configurations.2d: normalization_schemes must be among .*got \['mri'\]"),
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
        (TEXT, "", r"must be a mapping of Plan"),
    ],
)
def test_mistakes_are_named_with_their_place(old, new, message):
    assert old in TEXT
    with pytest.raises(UsageError, match=message):
        plan_from_yaml(TEXT.replace(old, new, 1), "plan.yaml")
