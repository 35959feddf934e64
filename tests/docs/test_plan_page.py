"""The worked example of docs/plan.md says what the rules give for Hippocampus' fingerprint."""

import math
from pathlib import Path

import pytest

from segfw import make_plan
from segfw.core.plan import Configuration, Plan
from segfw.core.planning.memory import configuration_memory, stage_sizes, stage_voxels
from segfw.core.planning.patch_size import choose_batch, network_memory, shrink_to_memory
from segfw.core.planning.planners import PLANNERS, estimated_gpu_memory_gb, givens_of
from segfw.interop.nnunet import read_dataset_json, read_fingerprint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
GOLDEN = ROOT / "tests" / "golden" / "plans" / "hippocampus"
DATASET = read_dataset_json(GOLDEN / "dataset.json")
FINGERPRINT = read_fingerprint(GOLDEN / "dataset_fingerprint.json")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(DATASET, FINGERPRINT)


def by(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def assert_said(*texts: str) -> None:
    assert [text for text in texts if text not in PAGE] == []


def test_what_planning_starts_from(plan: Plan) -> None:
    full = plan.configuration("3d_fullres")
    assert_said(f"| training cases | {DATASET.num_training} |", f"| median spacing (Z, Y, X) | {by(full.spacing)} mm |")
    voxels = math.prod(full.median_image_size_in_voxels)
    assert_said(f"{by(full.median_image_size_in_voxels)}, {voxels:,.0f} voxels", f"{voxels:,.0f} = {260 * voxels:,.0f}")


def test_the_stages_of_the_median_image_and_the_patch(plan: Plan) -> None:
    full = plan.configuration("3d_fullres")
    edges = full.median_image_size_in_voxels
    for number in range(len(full.strides)):
        assert_said(f"| stage {number + 1} | {' | '.join(f'{edge:g}' for edge in edges)} | {2**number} mm |")
        edges = tuple(math.ceil(edge / 2) for edge in edges)
    assert_said(f"**{by(full.patch_size)}** = {math.prod(full.patch_size):,} voxels")
    assert_said(f"**{', '.join(map(str, full.features_per_stage))}**", f"**{len(full.strides)} stages**")


def test_the_values_of_the_network(plan: Plan) -> None:
    full = plan.configuration("3d_fullres")
    voxels = stage_voxels(full.patch_size, full.strides)
    maps = [count * width for count, width in zip(voxels, full.features_per_stage, strict=True)]
    for number, row in enumerate(zip(voxels, full.features_per_stage, maps, strict=True), start=1):
        assert_said(f"| {number} | {' | '.join(f'{value:,}' for value in row)} |")
    encoder, decoder, output = 2 * sum(maps), 3 * sum(maps[:-1]), 3 * voxels[0]
    assert encoder + decoder + output == configuration_memory(full, 3)
    assert_said(
        f"2 x {sum(maps):,} = {encoder:,}", f"3 x {sum(maps[:-1]):,} = {decoder:,}", f"3 x {voxels[0]:,} = {output:,}"
    )
    assert_said(f"**{encoder + decoder + output:,}**", f"{PLANNERS['default'].reference[3]:,.0f} values")
    assert stage_sizes(full.patch_size, full.strides)[-1] == (5, 7, 5)


@pytest.mark.parametrize("name", ["3d_fullres", "2d"])
def test_the_batch(plan: Plan, name: str) -> None:
    configuration: Configuration = plan.configuration(name)
    voxels = 260 * math.prod(plan.configuration("3d_fullres").median_image_size_in_voxels)
    estimate = configuration_memory(configuration, 3)
    choice = choose_batch(givens_of(plan, configuration), estimate, configuration.patch_size, voxels)
    assert_said(f"/ {estimate:,} = {choice.fitting:.{2 if name == '3d_fullres' else 0}f}")
    assert_said(f"/ {math.prod(configuration.patch_size):,} = {choice.cap:.{2 if name == '3d_fullres' else 1}f}")
    assert_said(f"**{configuration.batch_size}**", f"**{by(configuration.patch_size)}**")
    if name == "3d_fullres":
        assert_said(f"{estimated_gpu_memory_gb(plan, name):.2f} GB")


def test_where_the_memory_decides(plan: Plan) -> None:
    full = plan.configuration("3d_fullres")
    givens = givens_of(plan, full, 0.2)
    assert_said(f"allows {givens.reference(3):,.0f} values")
    steps = list(shrink_to_memory(givens, full.spacing, full.median_image_size_in_voxels))
    assert len(steps) == 3
    for step in steps:
        covered = zip(step.patch_size, full.median_image_size_in_voxels, strict=True)
        shares = ", ".join(f"{edge / whole:.2f}" for edge, whole in covered)
        assert_said(f"| {by(step.patch_size)} | {shares} | {network_memory(givens, step):,} |")
