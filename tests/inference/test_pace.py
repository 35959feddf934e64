"""What is said of a long image, by a clock that the test sets."""

import logging

from segfw.inference.pace import Pace


def lines_of(caplog, ticks, total=100, at_once=10):
    """Log the pace of windows that are done at the given seconds, after a beginning at second 0."""
    clock = iter([0.0, *ticks])
    pace = Pace(total, (4, 5, 6), lambda: next(clock))
    with caplog.at_level(logging.INFO):
        for _ in ticks:
            pace.advance(at_once)
    return caplog.messages


def test_a_short_image_passes_without_a_word(caplog):
    assert lines_of(caplog, [5.0 * count for count in range(1, 11)]) == []


def test_a_line_a_minute_tells_what_is_left(caplog):
    ticks = [40.0, 80.0, 120.0, 160.0]  # 10 windows in 40 s: 20 of 100 at 80 s, 40 at 160 s
    assert lines_of(caplog, ticks) == [
        "an image of 4 x 5 x 6 voxels: 20 of 100 windows, 5 min left",
        "an image of 4 x 5 x 6 voxels: 40 of 100 windows, 4 min left",
    ]


def test_the_last_window_needs_no_line(caplog):
    assert lines_of(caplog, [100.0], total=10) == []
