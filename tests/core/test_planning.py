"""Plans: parity with the reference, laws for any dataset, refusals."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.dataset import Dataset
from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.patch_size import initial_patch
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.planners import PLANNERS, estimated_gpu_memory_gb
from segfw.core.planning import make_plan, mask_normalization
from segfw.interop.nnunet import plans_to_json, read_dataset_json, read_fingerprint

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"
PLANNER_OF = {"default": "default", "ResEncM": "resenc_m", "ResEncL": "resenc_l", "ResEncXL": "resenc_xl"}
NAMES = {
    "dataset_name",
    "plans_name",
    "data_identifier",
    "image_reader_writer",
    "label_manager",
    "experiment_planner_used",
}
STATISTICS = IntensityStatistics(10.0, 9.0, 2.0, 0.0, 20.0, 19.0, 1.0)


def options_of(stem):
    """Read planner and options off the name of a golden plans file."""
    _, planner, *rest = stem.split("_")
    option = "_".join(rest)
    if option.startswith("gpu"):
        return PLANNER_OF[planner], {"gpu_memory_gb": float(option[3:])}
    if option.startswith("target"):
        return PLANNER_OF[planner], {"target_spacing": tuple(float(v) for v in re.findall(r"\d+", option))}
    return PLANNER_OF[planner], {"transpose": False} if option else {}


def without_names(value):
    """Drop what names things, recursively; only what was planned stays."""
    if isinstance(value, dict):
        return {key: without_names(item) for key, item in value.items() if key not in NAMES}
    return [without_names(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*/plans_*.json")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_plans_equal_the_reference(golden):
    planner, options = options_of(golden.stem)
    dataset = read_dataset_json(golden.parent / "dataset.json")
    fingerprint = read_fingerprint(golden.parent / "dataset_fingerprint.json")
    ours = json.loads(json.dumps(plans_to_json(make_plan(dataset, fingerprint, planner, **options))))
    theirs = json.loads(golden.read_text())
    assert without_names(ours) == without_names(theirs)
    assert list(ours["configurations"]) == list(theirs["configurations"])


def dataset(num_training=20, channels=("MRI",), labels=3):
    values = {"background": 0, **{f"label{i}": i for i in range(1, labels)}}
    return Dataset("Synthetic", channels, LabelSet(values), num_training)


def fingerprint(cases, channels=1, ratio=1.0):
    spacings, shapes = zip(*cases, strict=True)
    return Fingerprint(spacings, shapes, (STATISTICS,) * channels, ratio)


@st.composite
def fingerprints(draw):
    """Draw fingerprints of 1 to 6 cases around a common grid: flat, elongated, microscopic or huge."""
    edge = st.integers(1, 1000)
    spacing = st.floats(0.05, 20)
    base = draw(st.tuples(spacing, spacing, spacing)), draw(st.tuples(edge, edge, edge))
    vary = st.floats(0.7, 1.4)
    cases = []
    for _ in range(draw(st.integers(1, 6))):
        factors = draw(st.tuples(vary, vary, vary))
        sizes = tuple(max(1, round(n * draw(vary))) for n in base[1])
        cases.append((tuple(s * f for s, f in zip(base[0], factors, strict=True)), sizes))
    return fingerprint(cases, ratio=draw(st.floats(0.01, 1)))


@settings(max_examples=150, deadline=None)
@given(fingerprints(), st.sampled_from(list(PLANNERS)), st.integers(1, 2000), st.integers(2, 60))
def test_any_dataset_has_a_valid_plan(given_fingerprint, planner, num_training, labels):
    plan = make_plan(dataset(num_training, labels=labels), given_fingerprint, planner)
    assert "2d" in plan.configurations
    assert ("3d_lowres" in plan.configurations) == ("3d_cascade_fullres" in plan.configurations)
    for configuration in plan.configurations.values():
        assert all(n > 0 and n % d == 0 for n, d in zip(configuration.patch_size, configuration.divisor, strict=True))
        assert configuration.batch_size >= 2
    assert tuple(plan.transpose_forward[axis] for axis in plan.transpose_backward) == (0, 1, 2)


@settings(max_examples=50, deadline=None)
@given(fingerprints(), st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(given_fingerprint, random):
    order = list(range(len(given_fingerprint.spacings)))
    random.shuffle(order)
    shuffled = replace(
        given_fingerprint,
        spacings=tuple(given_fingerprint.spacings[i] for i in order),
        shapes_after_crop=tuple(given_fingerprint.shapes_after_crop[i] for i in order),
    )
    assert make_plan(dataset(), shuffled) == make_plan(dataset(), given_fingerprint)


@pytest.mark.parametrize("planner", list(PLANNERS))
def test_a_plan_fits_its_memory_target(planner):
    plan = make_plan(dataset(1000), fingerprint([((1.0, 1.0, 1.0), (300, 300, 300))]), planner)
    for name in plan.configurations:
        assert estimated_gpu_memory_gb(plan, name) == pytest.approx(PLANNERS[planner].gpu_memory_gb, rel=0.35)


def test_half_the_memory_halves_the_batch():
    images = fingerprint([((1.0, 1.0, 1.0), (64, 64, 64))])
    whole, half = (make_plan(dataset(1000), images, gpu_memory_gb=gb).configuration("3d_fullres") for gb in (8, 4))
    assert whole.patch_size == half.patch_size
    assert half.batch_size == pytest.approx(whole.batch_size / 2, abs=1)


def test_single_slices_are_planned_in_2d_only():
    plan = make_plan(dataset(), fingerprint([((999.0, 1.0, 1.0), (1, 512, 512))]))
    assert list(plan.configurations) == ["2d"]


def test_a_coarse_axis_goes_first_at_its_10th_percentile():
    cases = [((0.7, 0.7, 5.0), (512, 512, 24)), ((0.75, 0.75, 4.0), (512, 512, 30)), ((0.8, 0.8, 5.0), (500, 480, 25))]
    plan = make_plan(dataset(50, ("CT",)), fingerprint(cases))
    assert plan.transpose_forward == (2, 0, 1)
    assert plan.transpose_backward == (1, 2, 0)
    # sorted spacings 4, 5, 5: a tenth of the way is 4 + 0.2 * 1
    assert plan.configuration("3d_fullres").spacing == pytest.approx((4.2, 0.75, 0.75))
    assert make_plan(dataset(50, ("CT",)), fingerprint(cases), transpose=False).transpose_forward == (0, 1, 2)


def test_initial_patch_is_a_physical_cube_cut_to_the_image():
    # 512 mm each way: 512 / 8 = 64 voxels of 8 mm, and 64 * 512 * 512 = 256 ** 3
    assert initial_patch((8.0, 1.0, 1.0), (1000.0, 1000.0, 1000.0)) == (64, 512, 512)
    assert initial_patch((8.0, 1.0, 1.0), (20.5, 300.0, 1000.0)) == (20.5, 300.0, 512)
    assert initial_patch((1.0, 4.0), (1e5, 1e5)) == (4096, 1024)


def test_the_mask_rule_is_strict_and_for_z_scores_only():
    assert mask_normalization(("zscore", "ct"), 0.7499) == (True, False)
    assert mask_normalization(("zscore", "ct"), 0.75) == (False, False)


def test_a_tiny_memory_target_ends_in_a_small_patch():
    cases = fingerprint([((1.0, 1.0, 1.0), (300, 300, 300))])
    configuration = make_plan(dataset(), cases, gpu_memory_gb=1e-6).configuration("3d_fullres")
    assert math.prod(configuration.patch_size) < 1000
    assert configuration.batch_size == 2


CASES = [((1.0, 1.0, 1.0), (40, 40, 40))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"planner": "resenc_x"}, "did you mean 'resenc_xl'"),
        ({"gpu_memory_gb": 0}, "gpu_memory_gb must be a positive number of gigabytes, got 0"),
        ({"target_spacing": (1.0, 1.0)}, r"three positive numbers .* got \(1.0, 1.0\)"),
        ({"target_spacing": (1.0, -2.0, 1.0)}, r"got \(1.0, -2.0, 1.0\)"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        make_plan(dataset(), fingerprint(CASES), **options)


@pytest.mark.parametrize(
    ("cases", "channels", "message"),
    [
        (CASES, 2, "statistics of 2 channels, the dataset declares 1"),
        ([*CASES, ((1.0, 0.0, 1.0), (40, 40, 40))], 1, r"case number 1: .* got \(\(1.0, 0.0, 1.0\)"),
        ([*CASES, ((1.0, 1.0), (40, 40))], 1, "case number 1: spacing and shape must be three"),
    ],
)
def test_a_fingerprint_that_does_not_fit_is_refused(cases, channels, message):
    with pytest.raises(DataError, match=message):
        make_plan(dataset(), fingerprint(cases, channels))


def test_an_empty_fingerprint_is_refused():
    with pytest.raises(DataError, match="got 0 spacings and 0 shapes"):
        make_plan(dataset(), Fingerprint((), (), (STATISTICS,), 1.0))
