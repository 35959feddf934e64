"""Ways to break the tiny dataset, each with the verdict that it is to get."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from tests.stages.tiny_dataset import CASES, describe, image_file, image_of, label_file, label_of, make, verdict, write


@dataclass(frozen=True)
class Breakage:
    """What is done to a faultless dataset; the exit status, kind of fault and words to come of it; None: no fault."""

    act: Callable[[Path], None]
    status: int
    kind: str | None
    words: tuple[str, ...]
    options: dict[str, Any]


def breakages():
    """Return a decorator for functions that break a dataset, and the breakages by name that it fills."""
    named = {}

    def broken(status, kind, *words, **options):
        def note(act):
            named[act.__name__] = Breakage(act, status, kind, words, options)
            return act

        return note

    return broken, named


def assert_verdict(breakage, tmp_path, caplog):
    """Break a dataset and verify it: the fault that is expected is told, in rows of a readable length, and no other."""
    folder = make(tmp_path / "data" / "Tiny")
    breakage.act(folder)
    status, last, rows, report = verdict(folder, tmp_path / "out", caplog, **breakage.options)
    assert status == breakage.status, rows
    assert {fault["kind"] for fault in report["faults"]} == ({breakage.kind} if breakage.kind else set())
    severity = "error" if status else "warning"
    assert all(fault["severity"] == severity for fault in report["faults"])
    if breakage.kind:
        words = (severity, breakage.kind, *breakage.words)
        assert [row for row in rows if all(word in row for word in words)], rows
        told = [row for row in rows if severity in row]
        assert all("\n" not in row and (len(row) <= 150 or breakage.kind == "unreadable") for row in told)
    assert str(tmp_path / "out" / "Tiny" / "verification.json") in last


def changed(array, value, *places):
    """Return an array with `value` at some places."""
    array = array.astype(np.float32 if isinstance(value, float) else np.int16)
    for place in places:
        array[place] = value
    return array


def make_two_channels(folder):
    """Give each case a second channel."""
    listed = {
        case: {
            "images": [f"imagesTr/{case}_0000.nii.gz", f"imagesTr/{case}_0001.nii.gz"],
            "label": f"labelsTr/{case}.nii.gz",
        }
        for case in CASES
    }
    describe(folder, channel_names={"0": "T1", "1": "T2"}, dataset=listed)
    for case in CASES:
        write(image_file(folder, case, 1), image_of(case) + 1)


def make_natural(folder, components, last=None, channels=3):
    """Replace all images by colored pictures; `last` is the value of their last component, `channels` are declared."""
    for sub in ("imagesTr", "labelsTr"):
        for path in (folder / sub).iterdir():
            path.unlink()
    describe(folder, channel_names={str(i): c for i, c in enumerate("RGBA"[:channels])}, file_ending=".png")
    for case in CASES:
        picture = np.random.default_rng(CASES.index(case)).integers(0, 255, (5, 6, components)).astype(np.uint8)
        if last is not None:
            picture[..., -1] = last
        image = sitk.GetImageFromArray(picture, isVector=True)
        sitk.WriteImage(image, str(image_file(folder, case, ending=".png")))
        sitk.WriteImage(sitk.GetImageFromArray(label_of(case)[1]), str(label_file(folder, case, ".png")))
