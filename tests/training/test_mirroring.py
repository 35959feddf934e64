"""What `augmentation.mirror_axes=auto` makes of a store, and what is said of left and right."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import UsageError
from segfw.core.imaging.mirroring import Order
from segfw.core.imaging.preprocessing import CropRecord, PreprocessedCase
from segfw.core.labels import LabelSet
from segfw.core.settings.training import AugmentationSettings
from segfw.data.augmentation import mirror_axes
from segfw.data.case_files import commit_store, save_case
from segfw.training.mirroring import pair_warning, warn_of_pairs, with_mirror_axes
from segfw.training.run import FoldRun

MakeRun = Callable[..., FoldRun]
NAMES = tuple("abcdef")
AUTO = AugmentationSettings(mirror_axes="auto")


@pytest.fixture
def sided(tmp_path: Path) -> Path:
    """Six cases with label 1 always before label 2 along the last axis, and on changing sides along the others."""
    shape = (6, 8, 12)
    for number, name in enumerate(NAMES):
        label = np.zeros((1, *shape), np.int16)
        a, b = (1, 4) if number % 2 else (4, 1)
        label[0, a, a, 1:4] = 1
        label[0, b, b, 8:11] = 2
        record = CropRecord((1.0, 1.0, 1.0), shape, tuple((0, n) for n in shape), shape, shape)
        locations = {(value,): np.flatnonzero(label == value) for value in (1, 2)}
        save_case(tmp_path, name, PreprocessedCase(np.zeros((1, *shape), np.float32), label, locations, record))
    commit_store(tmp_path, {})
    return tmp_path


def sided_run(make_run: MakeRun, store: Path, augmentation: AugmentationSettings, *names: str) -> FoldRun:
    run = make_run(store=str(store), train_cases=NAMES[:5], val_cases=NAMES[5:], augmentation=augmentation)
    labels = LabelSet({"background": 0, **{name: value for value, name in enumerate(names, 1)}})
    return replace(run, plan=replace(run.plan, labels=labels))


def test_auto_leaves_out_the_axis_of_the_fixed_order_and_says_why(
    make_run: MakeRun, sided: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = with_mirror_axes(sided_run(make_run, sided, AUTO, "first", "second"))
    assert run.mirror_axes == (0, 1)
    assert mirror_axes(run.resolved_augmentation, 3) == (0, 1)
    assert run.augmentation.mirror_axes == "auto"
    assert "mirror_axes=auto mirrors along [0, 1]; 'first' lies before 'second' along axis 2 in 5 of 5" in caplog.text


@pytest.mark.parametrize(
    ("names", "train", "reason"),
    [
        (
            ("first", "second"),
            4,
            "too few cases to tell whether labels lie always in one order: 4 hold two, 5 are needed",
        ),
        (("only",), 4, "no labels lie always in one order"),
    ],
)
def test_too_few_cases_are_not_called_an_order_that_changes(
    make_run: MakeRun, sided: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], train: int, reason: str
) -> None:
    caplog.set_level(logging.INFO)
    run = replace(sided_run(make_run, sided, AUTO, *names), train_cases=NAMES[:train])
    assert with_mirror_axes(run).mirror_axes == (0, 1, 2)
    assert f"mirrors along [0, 1, 2]; {reason}" in caplog.text


def test_axes_are_those_of_the_patch(make_run: MakeRun, sided: Path) -> None:
    run = sided_run(make_run, sided, AUTO, "first", "second")
    flat = replace(
        run.configuration,
        spacing=(1.0, 1.0),
        patch_size=(8, 8),
        strides=((1, 1), (2, 2), (2, 2)),
        kernel_sizes=((3, 3),) * 3,
        median_image_size_in_voxels=(8.0, 12.0),
    )
    run = replace(run, plan=replace(run.plan, configurations={"3d_fullres": flat}))
    assert with_mirror_axes(run).mirror_axes == (0,)


def test_axes_that_were_given_stay(make_run: MakeRun, sided: Path) -> None:
    run = sided_run(make_run, sided, AugmentationSettings(mirror_axes=(2,)), "first", "second")
    assert with_mirror_axes(run) == run
    assert mirror_axes(run.resolved_augmentation, 3) == (2,)


def test_auto_means_nothing_before_the_data_were_looked_at() -> None:
    with pytest.raises(UsageError, match="mirror_axes=auto is found from the training cases"):
        mirror_axes(AUTO, 3)


@pytest.mark.parametrize(("axes", "remedy"), [(None, "[0,1]"), ((2,), "[]"), ((1, 2), "[1]")])
def test_left_and_right_are_named_once_with_what_to_set(
    make_run: MakeRun, sided: Path, caplog: pytest.LogCaptureFixture, axes: tuple[int, ...] | None, remedy: str
) -> None:
    run = sided_run(make_run, sided, AugmentationSettings(mirror_axes=axes), "ear_right", "ear_left")
    warn_of_pairs([run, replace(run, fold=1)])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'ear_left' and 'ear_right' look like a left/right pair" in record.message
    assert record.message.endswith(f"along axis 2, and training mirrors along that axis, which swaps them: "
                                   f"set augmentation.mirror_axes={remedy}")  # fmt: skip


@pytest.mark.parametrize("axes", [(), (0, 1), "auto"])
def test_no_warning_where_sides_are_not_swapped(
    make_run: MakeRun, sided: Path, caplog: pytest.LogCaptureFixture, axes: tuple[int, ...] | str
) -> None:
    settings = AugmentationSettings(mirror_axes=axes)  # type: ignore[arg-type]
    warn_of_pairs([with_mirror_axes(sided_run(make_run, sided, settings, "ear_right", "ear_left"))])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_pair_that_the_data_do_not_tell_apart() -> None:
    other = [Order(1, "liver", "left", 9, 9, 2.0)]
    line = pair_warning(("left", "right"), (0, 2), other)
    assert line is not None
    assert "mirrors along the axes [0, 2], which may swap them" in line
    assert "augmentation.mirror_axes=[] for no mirroring" in line
