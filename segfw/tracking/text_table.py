"""Tables as plain text, for the screen and the log alike: no colours, no control characters."""

import io
import shutil
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH, LEAST_WIDTH = 120, 70


def text_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return a table, the first column left, the others right; what has no room on a line goes on in the next.

    `width`: in characters; None takes the terminal's, within reason.
    """
    if width is None:
        width = max(min(shutil.get_terminal_size((WIDTH, 0)).columns, WIDTH), LEAST_WIDTH)
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold", no_wrap=not number)
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).rstrip()
