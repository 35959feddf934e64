"""Tables and pictures as text and files."""

import json
import math
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from segfw.tracking.tables import pairs_to_markdown, png_size, to_json, to_markdown, to_png_bytes
from tests.tracking.tracked import picture

COLUMNS = ("case", "Dice", "count", "a|b")
ROWS = [("a|b\nc", 0.123456789, 12345678, Path("x/y.png")), ("", math.nan, None, None)]


def test_a_table_in_markdown() -> None:
    assert to_markdown(COLUMNS, ROWS).splitlines() == [
        r"| case | Dice | count | a\|b |",
        "| --- | --- | --- | --- |",
        r"| a\|b c | 0.123457 | 12345678 | y.png |",
        "|  |  |  |  |",
    ]


def test_a_table_in_json_is_read_back() -> None:
    found = json.loads(to_json(COLUMNS, ROWS))
    assert found["columns"] == list(COLUMNS)
    assert found["data"] == [["a|b\nc", 0.123456789, 12345678, "y.png"], ["", None, None, None]]


def test_settings_are_written_as_their_values() -> None:
    text = pairs_to_markdown({"name": "main", "sizes": [1, 2], "nothing": None, "on": True})
    assert text.splitlines()[2:] == ["| name | main |", "| sizes | [1, 2] |", "| nothing | null |", "| on | true |"]


def test_a_picture_is_whole_and_knows_its_size_and_caption() -> None:
    content = to_png_bytes(picture(), "true and predicted")
    assert png_size(content) == (2, 3)
    np.testing.assert_allclose(imread(BytesIO(content))[..., :3] * 255, picture())
    assert b"Description\x00true and predicted" in content
    assert b"Description" not in to_png_bytes(picture())
