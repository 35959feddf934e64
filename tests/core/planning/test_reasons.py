"""What a generated plan says of itself."""

import operator
import re
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.cases.dataset import Window
from segfw.core.planning import planners
from segfw.core.planning.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.planning.planning import make_plan
from segfw.core.planning.reasons import plan_reasons
from segfw.core.settings.schema import PlannerSettings
from segfw.core.support.words import by
from tests.core.planning.fingerprints import PLANNERS, dataset, fingerprint, fingerprints


def reasons_of(images, described=None, **options):
    """Plan `images` and return the reasons."""
    described = described or dataset()
    settings_ = PlannerSettings(**options)
    plan = make_plan(
        described,
        images,
        settings_.name,
        gpu_memory_gb=settings_.gpu_memory_gb,
        target_spacing=settings_.target_spacing,
        transpose=settings_.transpose,
    )
    return plan_reasons(plan, described, images, settings_)


def cases(count, spacing, shape):
    return fingerprint([(spacing, shape)] * count)


HIPPOCAMPUS = cases(260, (1.0, 1.0, 1.0), (36, 50, 35))
LIVER = cases(131, (1.0, 0.767578125, 0.767578125), (432, 512, 512))


def test_a_small_isotropic_dataset():
    reasons = reasons_of(HIPPOCAMPUS, dataset(260))
    assert reasons["dataset_name"] == "Here: for 8 GB of GPU memory (the planner's own target)."
    assert reasons["channel_names"] == "Here: MRI -> zscore."
    assert reasons["transpose_forward"].endswith("1 x 1 x 1 mm (Z, Y, X): no axis is larger than Z, which stays first.")
    assert (
        reasons["configurations"]
        == "Here: a patch of 3d_fullres covers 142 % of the median image (>= 25 %), so there is no 3d_lowres."
    )
    full = {key.rpartition(".")[2]: text for key, text in reasons.items() if ".3d_fullres." in key}
    assert full["spacing"] == (
        "Here: the median of 260 cases is 1 x 1 x 1 mm (Z, Y, X). Z is not coarse (1 <= 3 times 1 mm), so the median."
    )
    # 260 * 36 * 50 * 35 voxels, 5 % of them in patches of 40 * 56 * 40; estimate: 2 * 560e6 / 58.4 per patch
    assert full["patch_size"] == (
        "Here: a cube in mm of 256 x 256 x 256 voxels, cut to the median image of 36 x 50 x 35: 36 x 50 x 35, padded "
        "to 40 x 56 x 40, which fits the memory with a batch of 2. Batch: the memory has room for 58.41 patches, 5 % "
        "of the dataset's 16.38 million voxels make 9.141, so 9. Estimate: 1.23 GB, which fits the target of 8 GB."
    )
    assert full["kernel_sizes"] == "Here: the deepest stage sees 5 x 7 x 5 voxels of 8 x 8 x 8 mm."
    assert full["normalization_schemes"].endswith("cropping is 1 >= 0.75, so no mask.")
    assert full["batch_dice"] == "Here: there is no 3d_lowres."
    assert full["resampling"] == "Here: 0 of 260 cases have a coarse axis, now or at this spacing."


def test_a_cascade():
    reasons = reasons_of(LIVER, dataset(131))
    # 30 steps of 1.03 give the spacing 2.427; the patch of 128 ** 3 covers 1.85 % of 432 * 512 * 512
    assert reasons["configurations"] == (
        "Here: a patch of 3d_fullres covers 1.85 % of the median image (< 25 %). At 2.42726 x 1.86311 x 1.86311 mm it "
        "covers enough, and the median image has 14.3 times fewer voxels (>= 2), so there is a 3d_lowres and a cascade."
    )
    assert reasons["configurations.3d_lowres.spacing"] == (
        "Here: 30 steps of 3 % from the spacing of 3d_fullres; now a patch covers 26.5 % of the median image (>= 25 %)."
    )
    assert (
        "padded to 224 x 320 x 320; after 13 cuts 128 x 128 x 128, which fits the memory"
        in (reasons["configurations.3d_fullres.patch_size"])
    )
    assert reasons["configurations.3d_fullres.patch_size"].endswith(
        "so 2. Estimate: 6.47 GB, which fits the target of 8 GB."
    )
    assert reasons["configurations.3d_fullres.batch_dice"] == "Here: there is a 3d_lowres."


def test_a_3d_lowres_that_is_not_worth_it():
    reasons = reasons_of(cases(20, (1.0, 1.0, 1.0), (220, 200, 230)), dataset(20))
    assert reasons["configurations"].endswith("times fewer voxels (< 2), so there is no 3d_lowres.")


def test_a_coarse_axis():
    images = fingerprint(
        [((0.7, 0.7, 5.0), (512, 512, 24)), ((0.75, 0.75, 4.0), (512, 512, 30)), ((0.8, 0.8, 5.0), (500, 480, 25))]
    )
    reasons = reasons_of(images)
    assert reasons["configurations.3d_fullres.spacing"] == (
        "Here: the median of 3 cases is 0.75 x 0.75 x 5 mm (Z, Y, X). X is coarse: 5 > 3 times 0.75 mm, and 3 times "
        "its 25 voxels < 512. The 10th percentile along it is 4.2 mm, taken."
    )
    assert reasons["transpose_forward"] == (
        "Here: the target spacing is 0.75 x 0.75 x 4.2 mm (Z, Y, X): X is largest and goes first."
    )
    assert "; kernels are 1 x 3 x 3 in the first 2 stages." in reasons["configurations.3d_fullres.kernel_sizes"]
    assert reasons["configurations.3d_fullres.resampling"].startswith("Here: 3 of 3 cases have a coarse axis")
    assert reasons_of(images, transpose=False)["transpose_forward"] == (
        "Here: planner.transpose=false keeps the order of the images."
    )


def test_a_coarse_axis_of_many_voxels_and_one_whose_percentile_is_finer():
    many = reasons_of(cases(2, (4.0, 1.0, 1.0), (300, 400, 400)))["configurations.2d.spacing"]
    assert "Z is 4 > 3 times 1 mm, but 3 times its 300 voxels >= 400, so the median." in many
    finer = fingerprint([((s, 1.0, 1.0), (10, 400, 400)) for s in (0.5, *[4.0] * 4)])
    assert reasons_of(finer)["configurations.2d.spacing"].endswith("1.9 mm, taken.")
    finest = fingerprint([((s, 1.0, 1.0), (10, 400, 400)) for s in (0.5, 0.5, *[4.0] * 4)])
    assert reasons_of(finest)["configurations.2d.spacing"].endswith(
        "0.5 mm, which is finer than 1 mm: just above that."
    )


def test_what_the_user_gave_is_named_as_the_cause():
    reasons = reasons_of(HIPPOCAMPUS, gpu_memory_gb=24.0, target_spacing=(2.0, 1.0, 1.5))
    assert reasons["dataset_name"].endswith("24 GB of GPU memory (planner.gpu_memory_gb=24; its own would be 8).")
    assert reasons["configurations.3d_fullres.spacing"] == "Here: planner.target_spacing=[2, 1, 1.5] (Z, Y, X)."
    assert "the target of 24 GB." in reasons["configurations.3d_fullres.patch_size"]


def test_normalization():
    images = fingerprint([((1.0, 1.0, 1.0), (40, 40, 40))], channels=2, ratio=0.5)
    mixed = reasons_of(images, dataset(channels=("CT", "T1")))
    assert mixed["channel_names"] == "Here: CT -> ct, T1 -> zscore."
    assert mixed["configurations.2d.normalization_schemes"] == (
        "Here: the median relative size after cropping is 0.5 < 0.75, so z-scored channels use the mask."
    )
    none = reasons_of(images, dataset(channels=("CT", "CT")))["configurations.2d.normalization_schemes"]
    assert none.endswith("0.5 < 0.75, but no channel is z-scored.")


def test_a_window_in_the_place_of_statistics_is_named():
    described = replace(dataset(channels=("CT",)), window=Window(40.0, 400.0))
    plan = make_plan(dataset(channels=("CT",)), HIPPOCAMPUS)
    windowed = replace(plan, intensities=(replace(plan.intensities[0], percentile_99_5=240.0),))
    assert "task.window" in plan_reasons(windowed, described, HIPPOCAMPUS, PlannerSettings())["intensities"]
    assert "task.window" not in plan_reasons(plan, described, HIPPOCAMPUS, PlannerSettings())["intensities"]


def test_single_slices_and_a_memory_that_nothing_fits():
    flat = reasons_of(fingerprint([((999.0, 1.0, 1.0), (1, 512, 512))]))
    assert flat["configurations"] == "Here: the median image is a single slice, so 2d only."
    assert flat["transpose_forward"].endswith("999 x 1 x 1 mm (Z, Y, X): no axis is larger than Z, which stays first.")
    across = reasons_of(fingerprint([((1.0, 1.0, 999.0), (512, 512, 1))]))
    assert across["configurations"] == flat["configurations"]
    assert across["transpose_forward"].endswith("1 x 1 x 999 mm (Z, Y, X): X is largest and goes first.")
    tiny = reasons_of(HIPPOCAMPUS, gpu_memory_gb=1e-12)["configurations.3d_fullres.patch_size"]
    assert "which does not fit the memory with a batch of 2, but cannot be cut further." in tiny


@settings(max_examples=60, deadline=None)
@given(
    fingerprints(),
    st.sampled_from(PLANNERS),
    st.sampled_from([{}, {"gpu_memory_gb": 3.0}, {"transpose": False}, {"target_spacing": (2.0, 1.0, 0.5)}]),
)
def test_the_numbers_are_the_plans(images, planner, options):
    described = dataset(300)
    plan = make_plan(described, images, planner, **options)
    reasons = plan_reasons(plan, described, images, PlannerSettings(name=planner, **options))
    for name, configuration in plan.configurations.items():
        if configuration.previous_stage is None:
            text = reasons[f"configurations.{name}.patch_size"]
            patch = " x ".join(map(str, configuration.patch_size))
            assert re.search(rf"(padded to|cuts?) {patch}, which", text)
            assert re.search(rf", so {configuration.batch_size}[. ]", text)
    written = plan_to_yaml(plan, reasons)
    comments = [line for line in written.splitlines() if line.lstrip().startswith("#")]
    assert max(map(len, comments)) <= 110
    assert sum(line.lstrip().startswith("# Here: ") for line in comments) >= 8
    if all(configuration.patch_size != configuration.divisor for configuration in plan.configurations.values()):
        assert plan_from_yaml(written) == plan


ODD = [
    # a memory that the batch fits, one that even the smallest exceeds, and one that a batch rounded up exceeds
    ({"gpu_memory_gb": 0.05}, ((1.0, 1.0, 1.0), (6, 6, 6)), "2d.patch_size", r"fits the target of 0\.05 GB"),
    ({"gpu_memory_gb": 1e-12}, ((1.0, 1.0, 1.0), (6, 6, 6)), "2d.patch_size", "exceeds .*, since there is no smaller"),
    ({"gpu_memory_gb": 0.36}, ((1.0, 1.0, 1.0), (40, 40, 40)), "3d_fullres.patch_size", "exceeds .*, since the batch"),
    # Z catches up first, then Y: kernels of two kinds
    (
        {},
        ((9.0, 3.0, 1.0), (100, 200, 400)),
        "3d_fullres.kernel_sizes",
        "kernels are 1 x 1 x 3 in the first stage, 1 x 3 x 3 in the next 2 stages",
    ),
    # Z is more than twice as coarse until the others have caught up
    ({}, ((5.0, 0.8, 0.8), (200, 512, 512)), "3d_lowres.spacing", r"\d+ steps of 3 % from .*3d_fullres, \d+, \d+ and"),
]


@pytest.mark.parametrize(("options", "case", "key", "said"), ODD)
def test_what_is_out_of_the_ordinary_is_said(options, case, key, said):
    assert re.search(said, reasons_of(fingerprint([case] * 300), dataset(300), **options)[f"configurations.{key}"])


NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
COMPARED = re.compile(rf"{NUMBER}(?: %)?(?: of the median image| times fewer voxels)? \(?(<=|>=|<|>) {NUMBER}")
RELATIONS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}


def check_comparisons(text):
    """Evaluate every comparison that a reason states, `3 times its 25 voxels < 512` and `5 > 3 times 0.75` too."""
    text = re.sub(rf"3 times (?:its )?{NUMBER}(?: voxels)?", lambda found: repr(3 * float(found[1])), text)
    for left, relation, right in COMPARED.findall(text):
        assert RELATIONS[relation](float(left), float(right)), text


@settings(max_examples=100, deadline=None)
@given(fingerprints(), st.sampled_from(PLANNERS), st.sampled_from([None, 0.01, 1.0, 24.0]), st.booleans())
def test_every_number_of_a_sentence_bears_it_out(images, planner, gpu_memory_gb, transpose):
    options = {"gpu_memory_gb": gpu_memory_gb, "transpose": transpose}
    plan = make_plan(dataset(300), images, planner, **options)
    reasons = plan_reasons(plan, dataset(300), images, PlannerSettings(name=planner, **options))
    target = gpu_memory_gb or planners.PLANNERS[planner].gpu_memory_gb
    for text in reasons.values():
        check_comparisons(text)
    for name in {"2d", "3d_fullres", "3d_lowres"} & set(plan.configurations):
        text, configuration = reasons[f"configurations.{name}.patch_size"], plan.configuration(name)
        needs, exceeds = planners.estimated_gpu_memory_gb(plan, name), "which exceeds the target" in text
        assert exceeds == (needs > target) or needs == pytest.approx(target, rel=1e-9)
        room, batch = float(re.search(rf"room for {NUMBER} patches", text)[1]), configuration.batch_size
        assert exceeds == (batch > room) or batch == pytest.approx(room, rel=1e-3)
        fits = re.search(r"(fits|does not fit) the memory with a batch of (\d+)", text)
        assert (fits[1] == "fits") == (room >= int(fits[2])) or room == pytest.approx(int(fits[2]), rel=1e-3)
        assert ("never below" in text) <= (batch == 2)
        kernels = reasons[f"configurations.{name}.kernel_sizes"]
        narrow = [row for row in configuration.kernel_sizes if 1 in row]
        assert [by(row) for row, _ in groupby(narrow)] == re.findall(r"(?:are|,) ([\dx ]+) in the", kernels)


@pytest.mark.parametrize("name", ["MRI", "a: b", "# comment", "x" * 300])
def test_any_channel_name_stays_in_its_comment(name):
    described = dataset(channels=(name,))
    plan = make_plan(described, HIPPOCAMPUS)
    reasons = plan_reasons(plan, described, HIPPOCAMPUS, PlannerSettings())
    assert plan_from_yaml(plan_to_yaml(plan, reasons)) == plan
