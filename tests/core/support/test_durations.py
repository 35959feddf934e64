import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.support.durations import parse_duration


@given(days=st.integers(0, 999), hours=st.integers(0, 23), minutes=st.integers(0, 59), seconds=st.integers(1, 59))
def test_what_is_written_is_read(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days:02d}:{hours:02d}:{minutes:02d}:{seconds:02d}"
    assert parse_duration(text, "key") == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def test_twelve_hours() -> None:
    assert parse_duration("00:12:00:00", "key") == 43200


@pytest.mark.parametrize(
    "text", ["12:00:00", "12h", "43200", "00:24:00:00", "00:00:60:00", "00:00:00:00", "", "-1:00:00:01"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"trainer.max_time must be .* DD:HH:MM:SS .*got '{text}'"):
        parse_duration(text, "trainer.max_time")
