"""Exponents of costs, what is kept of them, and their picture."""

from dataclasses import replace

import pytest

from scripts.benchmarks.scaling_curves import Point, draw, exponent, load_points, save_points, table, told


def points(step, costs, field="cpu"):
    blank = Point("cases", 0, step, 1.0, 2.0, 100.0, 3, 4)
    return [replace(blank, size=float(size), **{field: float(cost)}) for size, cost in costs.items()]


def test_the_start_up_is_left_out_of_the_exponent():
    linear = points("a", {10: 2.0, 100: 2.0 + 1, 1000: 2.0 + 10, 10_000: 2.0 + 100})
    assert exponent(linear, "cpu") == pytest.approx(1)
    square = points("a", {10: 2.0, 100: 2.0 + 0.5, 1000: 2.0 + 50, 10_000: 2.0 + 5000})
    assert exponent(square[::-1], "cpu") == pytest.approx(2)


def test_what_is_lost_in_noise_has_no_exponent():
    assert exponent(points("a", {10: 2.0, 100: 2.1, 1000: 2.15, 10_000: 3.0}), "cpu") is None
    assert exponent(points("a", {10: 2.0, 100: 1.9, 1000: 2.5, 10_000: 7.0}), "cpu") == pytest.approx(1)
    assert exponent(points("a", {0: 2.0, 1: 5.0, 2: 9.0}), "cpu") is None  # 1 and 2 are too near
    assert exponent(points("a", {10: 2.0, 100: 5.0, 250: 9.0}), "cpu") is None
    assert exponent(points("a", {10: 2.0, 100: 3.0, 300: 5.0}), "cpu") == pytest.approx(1)
    assert exponent(points("a", {10: 100.0, 100: 114.0, 1000: 116.0}, "peak_mb"), "peak_mb") is None


def test_the_table_flags_what_grows_too_fast():
    rows = table([*points("good", {1: 0, 10: 1, 100: 10}), *points("bad", {1: 0, 10: 1, 100: 20})])
    assert [(row["step"], row["flagged"], row["cpu"]) for row in rows] == [("good", False, 10), ("bad", True, 20)]
    lines = told(rows).splitlines()
    assert lines[2] == "| good | 10.0 | 0.0 | 1.00 | 100 | 100 | - | 3 | 4 |"
    assert lines[3].split("|")[4].strip() == "**1.30**"


def test_points_of_other_sizes_and_axes_stay(tmp_path):
    file = tmp_path / "results/scaling.csv"
    first = points("a", {10: 1, 100: 2})
    save_points(file, [*first, replace(first[0], axis="labels")])
    save_points(file, points("b", {100: 5}))
    kept = [(point.axis, point.size, point.step, point.cpu) for point in load_points(file)]
    assert kept == [("cases", 10, "a", 1), ("cases", 100, "b", 5), ("labels", 10, "a", 1)]
    assert load_points(tmp_path / "nothing.csv") == []


def test_the_picture_names_steps_and_exponents(tmp_path):
    draw(tmp_path / "pictures/scaling.svg", "title", "cases", points("claim", {1: 0, 10: 1, 100: 10}))
    picture = (tmp_path / "pictures/scaling.svg").read_text()
    assert "<!-- claim  1.00 -->" in picture
    assert len(picture) < 150_000
