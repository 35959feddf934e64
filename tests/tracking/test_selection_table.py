"""The table of candidates: leads with their intervals, the winner, what is said below."""

import math
import re

from segfw.tracking.selection_table import CandidateScore, selection_table

ROWS = (
    CandidateScore("2d", 60, 0.75, {"a": 0.8, "b": 0.7}, (0.0512, 0.0204, 0.081)),
    CandidateScore("3d", 60, 0.79, {"a": 0.8, "b": math.nan}, (0.01, None, None)),
    CandidateScore("2d + 3d", 60, 0.8012, {"a": 0.9, "b": 0.7}),
)


def text(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def test_rows_and_notes():
    found = text(selection_table(ROWS, "2d + 3d", True, ("Said <so>.",)))
    assert found == (
        "candidate cases mean Dice a b winner ahead by (95 % interval) "
        "2d 60 0.7500 0.8000 0.7000 +0.0512 (+0.0204 to +0.0810) 3d 60 0.7900 0.8000 – +0.0100 (no interval) "
        "2d + 3d selected 60 0.8012 0.9000 0.7000 – Said &lt;so&gt;."
    )


def test_a_single_candidate_has_no_lead():
    found = text(selection_table(ROWS[2:], "2d + 3d", False, ()))
    assert "winner ahead" not in found
    assert found.startswith("The candidates were scored on different cases")
    assert "Nothing has been selected yet." in selection_table((), None, True, ())
