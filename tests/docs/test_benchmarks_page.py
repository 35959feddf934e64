"""Figures of docs/benchmarks.md are those of the committed results."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
RESULTS = ROOT / "scripts" / "benchmarks" / "results"
ROWS = re.findall(r"^\| (.+?) \| ([\d.]+) \| `(\w+\.json)` `(\w+)` \| ([\d-]+) \|$", PAGE, re.MULTILINE)


def result(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("what", "ratio", "file", "key", "date"), ROWS)
def test_a_ratio_is_the_measured_one(what: str, ratio: str, file: str, key: str, date: str) -> None:
    found = result(file)
    assert f"{found['outcome'][key]:.{len(ratio.split('.')[1])}f}" == ratio
    assert found["date"] == date


README_ROWS = [
    ("preparation of 60 Hippocampus cases", "preprocess.json", "hippocampus_cpu_seconds", "hippocampus_peak_memory"),
    ("preparation of a CT", "preprocess.json", "ct_cpu_seconds", "ct_peak_memory"),
    ("a training iteration in float32", "training_32_true.json", "seconds_per_iteration", None),
    ("prediction, beside nnU-Net without worker processes", "inference.json", "predict_seconds", "predict_peak_memory"),
    ("from logits to a map of 25 labels", "inference.json", "export_25_cpu_seconds", "export_25_peak_memory"),
]


@pytest.mark.parametrize(("task", "file", "time", "memory"), README_ROWS)
def test_a_ratio_of_the_readme_is_the_measured_one(task: str, file: str, time: str, memory: str | None) -> None:
    outcome = result(file)["outcome"]
    cells = [f"{outcome[key]:.2f}" if key else "-" for key in (time, memory)]
    what = f"{task} (processor time)" if "cpu" in time else task
    assert f"| {what} | {' | '.join(cells)} |" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_all_rows_were_read() -> None:
    assert len(ROWS) == PAGE.count(".json` `")


def test_agreement_with_nnunet() -> None:
    parity = result("nnunet_model_parity.json")
    rows = [*parity["imported_model_predicts_as_in_nnunet"].values(), parity["exported_model_predicts_in_nnunet"]]
    for row in rows:
        assert f"{row['voxels_that_differ']} of {row['voxels']:,} voxels differ" in PAGE
    assert all(row["voxels_that_differ_beyond_1e3"] == 0 for row in rows)
    worst = max(
        r["largest_error_of_a_probability"] for r in parity["random_models_written_and_imported_again"].values()
    )
    assert f"by a probability of {worst:.2f}." in PAGE
    assert f"{result('nnunet_accepts_plans.json')['accepted']} plans" in PAGE


def test_first_runs() -> None:
    runs = result("hippocampus_first_runs.json")
    fast = runs["fast_recipe_600_iterations"]["runs"][-1]
    assert f"seed 0 | {fast['dice_anterior']:.4f} | {fast['dice_posterior']:.4f} |" in PAGE
    for run in runs["published_recipe_600_iterations"]["seeds"]:
        scores = " | ".join(f"{run[f'dice_{name}']:.4f}" for name in ("anterior", "posterior", "union"))
        assert f"seed {run['seed']} | {scores} |" in PAGE
    assert f"{runs['demo']['dice']} in {runs['demo']['seconds_of_the_job']} s" in PAGE


def test_prediction_beside_both_ways_of_nnunet() -> None:
    runs = {number: result("inference.json")["runs"][f"predict, {number} processes"][0] for number in (3, 0)}
    ours = {f: min(run[f] for each in runs.values() for run in each["ours"]) for f in ("wall", "peak")}
    default = {f: min(run[f] for run in runs[3]["theirs"]) for f in ("wall", "peak")}
    words = "beside its default of three, ours takes {:.2f} of the time and {:.2f} of the memory"
    assert words.format(*(ours[f] / default[f] for f in ("wall", "peak"))) in PAGE
    assert default["wall"] > min(run["wall"] for run in runs[0]["theirs"])


def test_our_own_figures_and_files() -> None:
    outcome = result("inference.json")["outcome"]
    assert f"{outcome['export_105_cpu_seconds_ours']} s of processor time" in PAGE
    assert f"{outcome['export_105_peak_memory_gb_ours']:.3f} GB" in PAGE
    assert all((RESULTS / name).is_file() for name in re.findall(r"`([a-z_]+\.(?:json|csv))`", PAGE))
    reading = [value for key, value in result("reading.json")["outcome"].items() if key.startswith("read_seconds")]
    assert f"{min(reading):.3f} to {max(reading):.3f} of its time" in PAGE


def test_what_compressed_stores_cost() -> None:
    outcome = result("store.json")["outcome"]
    times = [value for key, value in outcome.items() if key.startswith("cpu") and ("blosc2" in key or "zarr" in key)]
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert f"{min(times):.1f} to {max(times):.0f} times the processor time of plain arrays" in design
