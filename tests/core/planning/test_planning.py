"""Plans: parity with the reference, laws for any dataset, refusals."""

import contextlib
import json
import math
import re
import time
from dataclasses import fields, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.cases.dataset import Window
from segfw.core.errors import DataError, UsageError
from segfw.core.plan import Fingerprint
from segfw.core.planning.checks import LARGEST, check_plan, check_values
from segfw.core.planning.planners import PLANNERS, estimated_gpu_memory_gb
from segfw.core.planning.planning import make_plan, mask_normalization
from segfw.core.planning.spacing import LARGEST_SPACING, SMALLEST_SPACING
from segfw.interop.nnunet import plans_to_json, read_dataset_json, read_fingerprint
from segfw.io.formats.images import slice_spacing
from tests.core.planning.fingerprints import STATISTICS, dataset, fingerprint, fingerprints

GOLDEN = Path(__file__).parents[2] / "golden" / "plans"
PLANNER_OF = {"default": "default", "ResEncM": "resenc_m", "ResEncL": "resenc_l", "ResEncXL": "resenc_xl"}
NAMES = {
    "dataset_name",
    "plans_name",
    "data_identifier",
    "image_reader_writer",
    "label_manager",
    "experiment_planner_used",
}


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
    described = read_dataset_json(golden.parent / "dataset.json")
    measured = read_fingerprint(golden.parent / "dataset_fingerprint.json")
    ours = json.loads(json.dumps(plans_to_json(make_plan(described, measured, planner, **options))))
    theirs = json.loads(golden.read_text())
    assert without_names(ours) == without_names(theirs)
    assert list(ours["configurations"]) == list(theirs["configurations"])


@settings(max_examples=150, deadline=None)
@given(fingerprints(), st.sampled_from(list(PLANNERS)), st.integers(1, 2000), st.integers(2, 60))
def test_any_dataset_has_a_valid_plan(given_fingerprint, planner, num_training, labels):
    plan = make_plan(dataset(num_training, labels=labels), given_fingerprint, planner)
    assert "2d" in plan.configurations
    assert ("3d_lowres" in plan.configurations) == ("3d_cascade_fullres" in plan.configurations)
    for configuration in plan.configurations.values():
        assert all(n > 0 and n % d == 0 for n, d in zip(configuration.patch_size, configuration.divisor, strict=True))
        assert configuration.batch_size >= 2
        if configuration.patch_size == (1,) * len(configuration.patch_size):
            return  # the one plan that nobody can train, of images of one voxel
    check_plan(plan)
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


@settings(max_examples=100, deadline=None)
@given(fingerprints(), st.sampled_from(list(PLANNERS)), st.floats(0.1, 100), st.floats(1, 10))
def test_a_larger_budget_never_gives_a_smaller_patch(given_fingerprint, planner, gpu_memory_gb, factor):
    """Hold on the grid of the images: 2d and 3d_fullres, whatever the batch."""
    small, large = (
        make_plan(dataset(), given_fingerprint, planner, gpu_memory_gb=gb)
        for gb in (gpu_memory_gb, gpu_memory_gb * factor)
    )
    for name in {"2d", "3d_fullres"} & set(small.configurations):
        volumes = [math.prod(plan.configuration(name).patch_size) for plan in (small, large)]
        assert volumes[0] <= volumes[1], name


def test_a_larger_budget_may_give_3d_lowres_a_smaller_patch_at_a_finer_spacing():
    """Parity comes first: the search for the spacing stops earlier with more memory, on another grid."""
    images = fingerprint([((2.0, 0.7, 0.7), (442, 424, 438))])
    plans = [make_plan(dataset(), images, "resenc_m", gpu_memory_gb=gb) for gb in (40, 48)]
    small, large = (plan.configuration("3d_lowres") for plan in plans)
    assert (small.patch_size, large.patch_size) == ((192, 256, 256), (192, 224, 256))
    assert small.spacing > large.spacing


def test_the_planned_spacing_is_a_percentile_and_the_reported_one_a_median():
    """The two differ in the last bit here: half of 0.3 + 2.11, and 0.3 + half of 2.11 - 0.3."""
    plan = make_plan(dataset(), fingerprint([((0.3, 1.0, 1.0), (40, 40, 40)), ((2.11, 1.0, 1.0), (40, 40, 40))]))
    assert plan.original_median_spacing_after_transp == (1.2049999999999998, 1.0, 1.0)
    assert plan.configuration("3d_fullres").spacing == (1.205, 1.0, 1.0)


def random_fingerprint(random):
    """Draw what Hypothesis is too slow for: spacings of 1e-3 to 1e3 mm, edges of 1 to 4000 voxels."""
    decades, longest, cases = random.choice([(-1, 1), (-3, 3)]), random.choice([12, 300, 4000]), random.choice([1, 4])
    spacing = [10 ** random.uniform(*decades) for _ in range(3)]
    edges = [random.randint(1, longest) for _ in range(3)]

    def vary(value):
        return value * random.uniform(0.8, 1.2)

    return fingerprint(
        [(tuple(map(vary, spacing)), tuple(max(1, round(vary(n))) for n in edges)) for _ in range(cases)]
    )


@pytest.mark.slow
def test_no_dataset_of_a_thousand_keeps_planning_busy():
    """Each takes well under a second on an idle machine; processor time doubles where threads share a core's caches."""
    random = Random(0)
    slowest = 0.0
    for _ in range(1_000):
        images, planner, gb = random_fingerprint(random), random.choice(list(PLANNERS)), random.choice([None, 2, 80])
        started = time.process_time()
        plan = make_plan(dataset(random.randint(1, 1000)), images, planner, gpu_memory_gb=gb)
        slowest = max(slowest, time.process_time() - started)
        for configuration in plan.configurations.values():
            assert not any(n % d for n, d in zip(configuration.patch_size, configuration.divisor, strict=True))
    assert slowest < 2


@pytest.mark.parametrize(
    ("spacing", "shape", "planned"),
    [
        ((1.0, 1.0, 1.0), (1, 1, 1), {"2d": (1, 1)}),
        ((1.0, 1.0, 1.0), (6, 6, 6), {"2d": (6, 6), "3d_fullres": (6, 6, 6)}),
        ((1e-3, 1e-3, 1e-3), (4000, 4000, 4000), {"3d_lowres": (128, 128, 128), "3d_fullres": (128, 128, 128)}),
        ((1e3, 1e3, 1e3), (4000, 4000, 4000), {"3d_lowres": (128, 128, 128), "3d_fullres": (128, 128, 128)}),
        # finest along an axis of 4000 voxels, of which the physical cube spans 2560
        ((1e-3, 1.0, 1e3), (4000, 4000, 4000), {"3d_fullres": (1, 2560, 256)}),
    ],
)
def test_extreme_images(spacing, shape, planned):
    plan = make_plan(dataset(), fingerprint([(spacing, shape)]))
    assert planned.items() <= {name: c.patch_size for name, c in plan.configurations.items()}.items()


def test_a_hundred_thousand_cases():
    images = fingerprint([((1.0, 1.0, 1.0 + i % 3), (100, 100, 100)) for i in range(100_000)])
    started = time.process_time()
    assert make_plan(dataset(100_000), images).configuration("3d_fullres").spacing == (2.0, 1.0, 1.0)
    assert time.process_time() - started < 10


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


def test_the_mask_rule_is_strict_and_for_z_scores_only():
    assert mask_normalization(("zscore", "ct"), 0.7499) == (True, False)
    assert mask_normalization(("zscore", "ct"), 0.75) == (False, False)


def test_stated_normalization_and_window_enter_the_plan():
    two = replace(dataset(channels=("CT", "MRI")), normalization=(None, "nonorm"), window=Window(40, 400))
    images = fingerprint([((1.0, 1.0, 1.0), (64, 64, 64))], channels=2, ratio=0.5)
    plan = make_plan(two, images)
    assert all(c.normalization_schemes == ("ct", "nonorm") for c in plan.configurations.values())
    assert all(c.use_mask_for_norm == (False, False) for c in plan.configurations.values())
    clipped, measured = plan.intensities
    assert (clipped.percentile_00_5, clipped.percentile_99_5, clipped.mean, clipped.std) == (-160, 240, 40, 200)
    assert measured == STATISTICS
    plain = make_plan(replace(two, normalization=(), window=None), images)
    assert plain.intensities == (STATISTICS, STATISTICS)
    with pytest.raises(UsageError, match=r"task\.window is for CT"):
        make_plan(replace(two, normalization=("zscore", None)), images)


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
        ({"target_spacing": 1.0}, "three positive numbers .* got 1.0"),
        ({"target_spacing": "1mm"}, "three positive numbers .* got '1mm'"),
        ({"target_spacing": (1.0, "a", 1.0)}, r"got \(1.0, 'a', 1.0\)"),
        ({"target_spacing": (1.0, 10**400, 1.0)}, r"from 1e-06 to 1e\+07, got \(1.0, 1000"),
        ({"gpu_memory_gb": "24"}, "gpu_memory_gb must be a positive number of gigabytes, got '24'"),
        ({"gpu_memory_gb": 10**400}, "gpu_memory_gb must be a positive number"),
        ({"gpu_memory_gb": math.inf}, "gpu_memory_gb must be a positive number of gigabytes, got inf"),
        ({"planner": ["default"]}, r"planner must be one of .*, got \['default'\]"),
        ({"transpose": "no"}, "transpose must be True or False, got 'no'"),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacings": None}, "got 0 spacings and 1 shapes"),
        ({"spacings": (1.0,)}, r"case number 0: .* got \(1.0, \(40, 40, 40\)\)"),
        ({"spacings": (("a", 1.0, 1.0),)}, r"case number 0: .* got \(\('a', 1.0, 1.0\)"),
        ({"shapes_after_crop": ((10**400, 1, 1),)}, "case number 0: .* from 1 to 2147483647 voxels"),
        ({"shapes_after_crop": ((math.nan, 1, 1),)}, "case number 0: .* got .*nan"),
        ({"cases": ("a", "b")}, "got 1 spacings and 1 shapes of 2 names"),
        ({"median_relative_size_after_cropping": None}, "median_relative_size_after_cropping must be .* got None"),
        ({"median_relative_size_after_cropping": math.nan}, "must be a positive number, got nan"),
        ({"intensities": None}, "has for statistics None"),
        ({"intensities": (replace(STATISTICS, mean="a"),)}, r"intensities\[0\].mean must be a finite number, got a"),
        ({"intensities": (replace(STATISTICS, std=10**400),)}, r"intensities\[0\].std must be a finite number"),
    ],
)
def test_values_that_no_fingerprint_has_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        make_plan(dataset(), replace(fingerprint(CASES), **change))


def test_what_is_no_dataset_or_fingerprint_is_refused():
    with pytest.raises(UsageError, match="dataset must be a Dataset, as read_dataset_json returns it, got str"):
        make_plan("dataset.json", fingerprint(CASES))
    with pytest.raises(UsageError, match="labels of 'Synthetic' must be a LabelSet, got NoneType"):
        make_plan(replace(dataset(), labels=None), fingerprint(CASES))
    with pytest.raises(UsageError, match=r"fingerprint must be a Fingerprint, .* got dict"):
        make_plan(dataset(), {})
    with pytest.raises(DataError, match=r"num_training of 'Synthetic' must be a number of cases .* got 1000"):
        make_plan(dataset(10**400), fingerprint(CASES))


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | st.text(max_size=2)
odd_values = st.recursive(anything, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([field.name for field in fields(Fingerprint)]), odd_values, odd_values, odd_values)
def test_any_fingerprint_is_planned_or_refused(key, value, gpu_memory_gb, target_spacing):
    with contextlib.suppress(UsageError, DataError):
        assert make_plan(dataset(), replace(fingerprint(CASES), **{key: value})).configurations
    with contextlib.suppress(UsageError, DataError):
        plan = make_plan(dataset(), fingerprint(CASES), gpu_memory_gb=gpu_memory_gb, target_spacing=target_spacing)
        assert plan.configurations


millimetres = st.floats(SMALLEST_SPACING, LARGEST_SPACING) | st.sampled_from([SMALLEST_SPACING, 1.0, LARGEST_SPACING])
edges = st.integers(1, 1000) | st.sampled_from([1, 2, 10**6, LARGEST])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.tuples(*[millimetres] * 3), st.tuples(*[edges] * 3)), min_size=1, max_size=3),
    st.sampled_from(list(PLANNERS)),
    st.none() | st.floats(1, 900),  # beyond it, a batch of 2 ** 31 patches of one voxel fits
    st.none() | st.tuples(*[millimetres] * 3),
)
def test_the_largest_and_smallest_images_have_a_plan(cases, planner, gpu_memory_gb, target_spacing):
    check_values(make_plan(dataset(), fingerprint(cases), planner, gpu_memory_gb, target_spacing))


@pytest.mark.parametrize("pixel", [12.0, 500.0, 1e4])
def test_2d_images_of_large_pixels_have_a_plan(pixel):
    plan = make_plan(dataset(), fingerprint([(slice_spacing((pixel, pixel)), (1, 300, 400))] * 2))
    check_values(plan)
    assert plan.configuration("2d").spacing == (pixel, pixel)


def test_an_empty_fingerprint_is_refused():
    with pytest.raises(DataError, match="got 0 spacings and 0 shapes"):
        make_plan(dataset(), Fingerprint((), (), (STATISTICS,), 1.0))
