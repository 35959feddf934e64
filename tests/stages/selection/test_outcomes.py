"""How the passes over the cases are told apart in the log."""

import pytest

from segfw.core.labels import LabelSet
from segfw.core.scoring.postprocessing import Step
from segfw.stages.selection.outcomes import examined

LABELS = LabelSet({"background": 0, "liver": 1, "tumor": 2})
LARGEST, SMALL = Step("keep_largest", (1, 2)), Step("remove_small", (2,), minimum_mm3=12.5)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ((), ""),
        ((LARGEST,), " (keep largest: the foreground)"),
        ((LARGEST, SMALL), " (2 steps, the last remove small: tumor < 12.5 mm³)"),
        ((Step("fill_holes", (1,), fill=1),), " (fill holes: liver)"),
    ],
)
def test_a_pass_says_what_it_examines(steps, told):
    assert examined(steps, LABELS) == told
