"""nnU-Net's postprocessing.json as steps: the real files, and what is refused of others."""

import json
from pathlib import Path

import pytest

from segfw.core.errors import ArtefactError
from segfw.core.labels import LabelSet
from segfw.core.scoring.postprocessing import Step
from segfw.interop.nnunet_postprocessing import KEEP_LARGEST, steps_from_json

GOLDEN = Path(__file__).parents[1] / "golden" / "postprocessing_choice"
LABELS = LabelSet({"background": 0, "a": 1, "b": 2, "c": 3})


@pytest.mark.parametrize(("name", "values"), [("labels0", [(1,), (2,), (3,)]), ("regions0", [(1, 2, 3), (2, 3), (3,)])])
def test_what_nnunet_wrote(name, values):
    content = json.loads((GOLDEN / f"{name}.json").read_text())
    assert steps_from_json(content, LABELS, "file") == tuple(Step("keep_largest", key) for key in values)


def test_unions_are_flattened():
    content = {"postprocessing_fns": [KEEP_LARGEST], "postprocessing_kwargs": [{"labels_or_regions": [[1, 3], [3], 2]}]}
    assert steps_from_json(content, LABELS, "file") == (Step("keep_largest", (1, 2, 3)),)


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (None, None, "lists of one length, got None and None"),
        ([KEEP_LARGEST], [], r"lists of one length, got .* and \[\]"),
        (["os.system"], [{"labels_or_regions": 1}], "has an equivalent, got 'os.system'"),
        ([KEEP_LARGEST], [[1]], r"must hold labels_or_regions, got \[1\]"),
        ([KEEP_LARGEST], [{"labels_or_regions": 1, "more": 2}], "must hold labels_or_regions, got .*'more': 2"),
        ([KEEP_LARGEST], [{"labels_or_regions": 1, "background_label": 3}], "background_label must be 0, got 3"),
        ([KEEP_LARGEST], [{}], "label values or lists of these, got None"),
        ([KEEP_LARGEST], [{"labels_or_regions": [True]}], "label values or lists of these, got True"),
        ([KEEP_LARGEST], [{"labels_or_regions": []}], r"above 0, each once, got \[\]"),
        ([KEEP_LARGEST], [{"labels_or_regions": 4}], r"\[4\] are no label values"),
    ],
)
def test_what_has_no_equivalent_is_refused(names, arguments, message):
    content = {"postprocessing_fns": names, "postprocessing_kwargs": arguments}
    with pytest.raises(ArtefactError, match=f"file: .*{message}"):
        steps_from_json(content, LABELS, "file")
