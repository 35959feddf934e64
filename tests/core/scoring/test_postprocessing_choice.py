"""Choices against nnU-Net's own, and the rule of acceptance on cases worked out by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.labels import LabelSet
from segfw.core.scoring.metrics import CaseMetrics, Counts, case_metrics, summarize
from segfw.core.scoring.postprocessing import Step, apply_steps, secondary_volumes
from segfw.core.scoring.postprocessing_choice import Choice, determine, minimum_candidates
from segfw.core.settings.schema import PostprocessingSettings
from segfw.core.support.conversion import from_plain, to_plain

GOLDEN = Path(__file__).parents[2] / "golden" / "postprocessing_choice"
LABELS = LabelSet({"background": 0, "a": 1, "b": 2, "c": 3})
NESTED = LabelSet({"background": 0, "whole": (1, 2, 3), "core": (2, 3), "inner": 3}, (1, 2, 3))
AROUND = LabelSet({"background": 0, "around": (0, 1), "rest": (2, 3)}, (1, 2))
THEIRS = PostprocessingSettings(fill_holes=False, min_size=False)
UNIT = (1.0, 1.0, 1.0)


class Cases:
    """Pairs of maps, scored under any steps; counts how often."""

    def __init__(self, labels, pairs):
        self.labels, self.pairs, self.calls = labels, pairs, 0

    def processed(self, steps):
        return [apply_steps(prediction, steps, UNIT) for _, prediction in self.pairs]

    def score(self, steps):
        self.calls += 1
        maps = zip(self.pairs, self.processed(steps), strict=True)
        return [case_metrics(str(i), pair[0], after, self.labels) for i, (pair, after) in enumerate(maps)]

    def volumes(self, steps):
        found = [secondary_volumes(after, self.labels, UNIT) for after in self.processed(steps)]
        return {name: np.concatenate([each[name] for each in found]) for name, _ in self.labels.foreground}

    def choose(self, wanted):
        return determine(self.labels, self.score, self.volumes, wanted)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_the_choice_is_nnunets(file):
    theirs, maps = json.loads(file.read_text()), np.load(file.with_suffix(".npz"))
    labels = NESTED if file.stem.startswith("regions") else LABELS
    cases = Cases(labels, [(maps[f"ref{i}"], maps[f"pred{i}"]) for i in range(4)])
    choice = cases.choose(THEIRS)
    keys = [entry["labels_or_regions"] for entry in theirs["postprocessing_kwargs"]]
    assert [step.values for step in choice.steps] == [flat(key) for key in keys]
    for ours, folder in ((choice.before, "input_folder"), (choice.after, "postprocessed")):
        assert ours.foreground == pytest.approx(theirs[folder]["foreground_mean"]["Dice"], rel=1e-12)
        figures = [row["Dice"] for row in theirs[folder]["mean"].values()]
        assert sorted(ours.labels.values()) == pytest.approx(sorted(figures), rel=1e-12)
    for i, ours in enumerate(cases.processed(choice.steps)):
        assert (ours == maps[f"post{i}"]).all()


def flat(key):
    nested = key if isinstance(key, list) else [key]
    return tuple(sorted({value for entry in nested for value in (entry if isinstance(entry, list) else [entry])}))


def scored(figures):
    """One case with these Dice of a, b, c in hundredths, TP of 100 voxels in both maps; None: in neither map."""
    counts = {name: Counts(0, 0, 0, 9) if v is None else Counts(v, 100 - v, 100 - v, 9) for name, v in figures.items()}
    return [CaseMetrics("case", counts)]


def answers(table, otherwise):
    """A scorer that looks its answer up by the values of the steps."""
    return lambda steps: scored(table.get(tuple(step.values for step in steps), otherwise))


def choose(labels, table, strict=False):
    wanted = PostprocessingSettings(strict, fill_holes=False, min_size=False)
    return determine(labels, answers(table, table[()]), lambda steps: {}, wanted)


def test_all_foreground_together_must_harm_no_class():
    start = {"a": 50, "b": 60, "c": None}
    everything = ((1, 2, 3),)
    better = choose(LABELS, {(): start, everything: {"a": 70, "b": 60, "c": None}})
    assert better.steps == (Step("keep_largest", (1, 2, 3)),)
    assert (better.before.foreground, better.after.foreground) == pytest.approx((0.55, 0.65))
    assert better.examined[0].labels == {"a": (0.5, 0.7)}
    harmed = choose(LABELS, {(): start, everything: {"a": 90, "b": 59, "c": None}})
    assert harmed.steps == ()
    assert harmed.examined[0].why == "its mean rises, b falls"
    assert harmed.examined[0].foreground == pytest.approx((0.55, 0.745))
    gone = choose(LABELS, {(): start, everything: {"a": 60, "b": None, "c": None}})
    assert gone.steps == (Step("keep_largest", (1, 2, 3)),)  # undefined is not lower, and the mean is over the rest


def test_a_region_counts_by_itself_unless_strict():
    start = {"whole": 50, "core": 60, "inner": 70}
    table = {(): start, ((1, 2, 3),): start, ((2, 3),): {"whole": 49, "core": 61, "inner": 70}}
    loose, strict = choose(NESTED, table), choose(NESTED, table, strict=True)
    assert [step.values for step in loose.steps] == [(2, 3)]
    assert strict.steps == ()
    assert [(each.label, each.accepted) for each in strict.examined] == [
        ("foreground", False), ("whole", False), ("core", False), ("inner", False),
    ]  # fmt: skip
    assert strict.examined[2].why == "its mean rises, whole falls"
    assert strict.examined[3].why == "its mean does not rise"


def test_one_class_has_no_step_of_its_own():
    labels = LabelSet({"background": 0, "a": 1})
    choice = choose(labels, {(): {"a": 50}, ((1,),): {"a": 50}})
    assert [each.label for each in choice.examined] == ["foreground"]


def sphere(radius, center=(8, 8, 8), shape=(16, 16, 16)):
    return (
        sum((axis - at) ** 2 for axis, at in zip(np.ogrid[tuple(map(slice, shape))], center, strict=True)) <= radius**2
    )


def lesions():
    """Two true lesions, the small one of 33 voxels; predicted with specks of 1 to 3 and a cavity in the big one."""
    reference = np.zeros((16, 16, 16), np.uint8)
    reference[sphere(4)] = 1
    reference[sphere(2, (2, 2, 2))] = 1
    prediction = reference.copy()
    prediction[8, 8, 8:10] = 0
    for place, size in (((14, 14, 1), 1), ((14, 1, 14), 2), ((1, 14, 12), 3)):
        prediction[place[0], place[1], place[2] : place[2] + size] = 1
    return reference, prediction


def test_a_least_volume_spares_what_the_largest_component_would_cost():
    labels = LabelSet({"background": 0, "a": 1})
    choice = Cases(labels, [lesions()]).choose(PostprocessingSettings())
    assert choice.steps == (Step("fill_holes", (1,), fill=1), Step("remove_small", (1,), minimum_mm3=3.01))
    assert choice.after == choice.after.__class__(1.0, {"a": 1.0})
    tried = [(each.step.operation, each.step.minimum_mm3, each.accepted, each.why) for each in choice.examined]
    assert tried == [
        ("keep_largest", None, False, "its mean does not rise"),
        ("fill_holes", None, True, "its mean rises"),
        ("remove_small", 1.01, False, "another minimum raises it at least as much"),
        ("remove_small", 2.01, False, "another minimum raises it at least as much"),
        ("remove_small", 3.01, True, "its mean rises"),
        ("remove_small", 33.1, False, "its mean does not rise"),
    ]


def test_the_inner_region_takes_its_cavity_first():
    reference = np.zeros((9, 9, 9), np.uint8)
    reference[1:8, 1:8, 1:8] = 1
    reference[2:7, 2:7, 2:7] = 2
    reference[3:6, 3:6, 3:6] = 3
    prediction = reference.copy()
    prediction[4, 4, 4] = 0
    choice = Cases(NESTED, [(reference, prediction)]).choose(PostprocessingSettings())
    assert choice.steps == (Step("fill_holes", (3,), fill=3),)
    assert choice.after.foreground == 1


def test_a_region_with_background_is_left_alone_and_judges_the_others():
    labels = LabelSet({"background": 0, "around": (0, 1), "core": 2}, (1, 2))
    reference = np.where(sphere(4), 2, 0)
    predicted = reference.copy()
    predicted[0, 0, 0] = 2
    choice = Cases(labels, [(reference, predicted)]).choose(PostprocessingSettings())
    assert [step.values for step in choice.steps] == [(1, 2)]
    assert {each.label for each in choice.examined} == {"foreground", "core"}
    assert choice.after.labels == {"around": 1.0, "core": 1.0}


def test_the_number_of_scorings_does_not_grow_with_the_labels():
    labels = LabelSet({"background": 0} | {f"label{value}": value for value in range(1, 20)})
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 20, (6, 10, 10)), rng.integers(0, 20, (6, 10, 10))) for _ in range(2)]
    cases = Cases(labels, pairs)
    choice = cases.choose(PostprocessingSettings())
    assert len(choice.examined) > 38
    assert cases.calls <= 9


@pytest.mark.parametrize(
    ("volumes", "minima"),
    [
        ([], ()),
        ([1.0], (1.01,)),
        ([5.0] * 9 + [1234.5], (5.01, 1240.0)),
        (list(range(1, 21)), (2.01, 5.01, 10.1, 15.1, 20.1)),
        ([0.00012, 0.5], (0.000121, 0.501)),
    ],
)
def test_candidates_lie_just_above_volumes_that_occur(volumes, minima):
    assert minimum_candidates(volumes) == minima


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20))
def test_the_last_candidate_is_above_every_volume(volumes):
    assert minimum_candidates(volumes)[-1] > max(volumes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([LABELS, NESTED, AROUND]), st.booleans())
def test_laws_of_a_choice(seed, labels, one_slice):
    rng = np.random.default_rng(seed)
    shape = (1, 8, 8) if one_slice else (4, 6, 6)
    pairs = []
    for _ in range(2):
        reference = np.repeat(np.repeat(rng.integers(0, 4, (shape[0], shape[1] // 2, shape[2] // 2)), 2, 1), 2, 2)
        wrong = rng.random(shape) < 0.2
        pairs.append((reference, np.where(wrong, rng.integers(0, 4, shape), reference)))
    cases = Cases(labels, pairs)
    choice = cases.choose(PostprocessingSettings(strict=True))
    for name, before in choice.before.labels.items():
        assert not choice.after.labels[name] < before
    measured = {name: row["dice"] for name, row in summarize(cases.score(choice.steps)).mean.items()}
    assert same(measured, choice.after.labels)  # the figures, put together from single labels, are those of the steps
    assert choice.steps == tuple(each.step for each in choice.examined if each.accepted)
    assert to_plain(from_plain(Choice, to_plain(choice))) == to_plain(choice) or math.isnan(choice.after.foreground)


def same(left, right):
    return all(left[name] == right[name] or math.isnan(left[name] + right[name]) for name in left | right)
