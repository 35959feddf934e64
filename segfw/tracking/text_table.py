"""Tables as plain text, for the screen and the log alike: no colours, no control characters."""

import io
import shutil
from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH, LEAST_WIDTH = 120, 70


def text_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return a table, the first column left, the others right; what has no room on a line goes on in the next.

    `width`: in characters; None takes the terminal's, within reason.
    """
    table = plain_table(title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold", no_wrap=not number)
    for row in rows:
        table.add_row(*map(Text, row))
    return as_text(table, terminal_width(LEAST_WIDTH, WIDTH) if width is None else width)


def plain_table(title: str | None = None, title_justify: Literal["left", "center"] = "center") -> Table:
    """Return an empty table with the look of all of them: a line under the head, none between the columns."""
    shown = None if title is None else Text(title)
    return Table(title=shown, title_justify=title_justify, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def as_text(table: Table, width: int) -> str:
    """Return a table of at most `width` characters as lines without blanks at their ends."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).rstrip()


def terminal_width(least: int, most: int) -> int:
    """Return the terminal's width in characters, within bounds; `most` where there is no terminal."""
    return max(min(shutil.get_terminal_size((most, 0)).columns, most), least)
