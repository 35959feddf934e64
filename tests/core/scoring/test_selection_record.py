"""The table of a selection comes back from YAML as it was."""

import yaml

from segfw.core.scoring.cross_fitting import CrossFitted, LeftOut
from segfw.core.scoring.postprocessing import Step
from segfw.core.scoring.postprocessing_choice import Choice, Examined, MeanDice
from segfw.core.scoring.selection import Difference, Score
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.support.conversion import from_plain
from segfw.workspace import to_yaml


def test_read_back():
    step = Step("keep_largest", (1, 2))
    names = ("default/planned/2d", "default/planned/3d_fullres")
    scores = (
        Score(names[0], names[:1], (0, 1), 4, 0.5, {"a": 0.25, "b": 0.75}, 0.5, Difference(0.1, -0.1, 0.3, 4)),
        Score(" + ".join(names), names, (0, 1), 4, 0.6, {"a": 0.6, "b": 0.6}, 0.6),
    )
    tried = Examined(step, "foreground", True, "the mean rises", (0.6, 0.65), {"a": (0.6, 0.7)})
    choice = Choice((step,), MeanDice(0.6, {"a": 0.6}), MeanDice(0.65, {"a": 0.7}), (tried,))
    record = SelectionRecord(
        winner=scores[1].name,
        selection_score=0.6,
        cross_fitted=CrossFitted(0.55, {"a": 0.5, "b": 0.6}, 4, (LeftOut(0, names[0], (step,), 2, 0.5),)),
        postprocessing=choice,
        same_cases=True,
        num_common=4,
        scores=scores,
        not_formed={"x + y": "for a reason"},
        intervals="of cases",
        try_again=("x + y",),
    )
    loaded = from_plain(SelectionRecord, yaml.safe_load(to_yaml(record, "words")))
    assert loaded == record
    assert (loaded.best, loaded.steps) == (scores[1], (step,))
