"""HTML by small functions: every text is escaped here, and only finished markup is joined elsewhere.

The look is `page.css`, scripts are files of their own beside this one. A page says by its policy that it loads nothing
and runs no script but those it was built with.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files

STYLES = ("page.css", "viewer.css")
MOST_ROWS = 60
"""Of a table; more are counted in a last row."""


class Markup(str):
    """Finished markup, which is not escaped again."""


def page(title: str, header: str, sections: Sequence[str], footer: str, scripts: Sequence[str] = ()) -> str:
    """Return a whole page; `header`, `sections` and `footer` are markup, `scripts` the text of scripts."""
    hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    hashes = hashes or " 'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src{hashes}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{''.join(map(resource, STYLES))}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>\n{''.join(sections)}</main>\n<footer>{footer}</footer>\n"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body>\n</html>\n"
    )


def resource(name: str) -> str:
    """Return the text of a file that is part of this package, such as a style or a script."""
    return files("segfw.tracking").joinpath(name).read_text(encoding="utf-8")


def data_block(identifier: str, json_text: str) -> str:
    """Return data for a script of the page; no text in it can end the block."""
    harmless = json_text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{escape(identifier)}">{harmless}</script>\n'


def heading(text: str, level: int) -> str:
    """Return a heading."""
    return f"<h{level}>{escape(text)}</h{level}>\n"


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Return a paragraph; a `quiet` one says what is not there or how to read what is."""
    kind = ' class="quiet"' if quiet else ""
    return f"<p{kind}>{escape(text)}</p>\n"


def lead(text: str) -> str:
    """Return the sentence that tells the result, larger than the others."""
    return f'<p class="lead">{escape(text)}</p>\n'


def caption(*sentences: str) -> str:
    """Return small print under a part of the page."""
    return f'<p class="quiet caption">{escape(" ".join(sentences))}</p>\n'


def section(anchor: str, title: str, *body: str) -> str:
    """Return a card with a heading; `body` is markup."""
    return f'<section id="{escape(anchor)}">\n{heading(title, 2)}{"".join(body)}</section>\n'


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Return a row of (what, how much)."""
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in facts
    )
    return f'<div class="tiles">{cells}</div>\n'


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None, badge: str = "", prose: bool = False
) -> str:
    """Return a table of texts, or of markup: first column left, others right; row `best` stands out by `badge`.

    `prose`: every column is text and set left. Of more than `MOST_ROWS` rows the others are counted; `best` is kept.
    """
    shown = [number for number in range(len(rows)) if number < MOST_ROWS or number == best]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(_row(rows[number], badge if number == best else "", number == best) for number in shown)
    if len(shown) < len(rows):
        body += f'<tr><td colspan="{len(header)}">and {len(rows) - len(shown)} more</td></tr>\n'
    kind = ' class="prose"' if prose else ""
    return f'<div class="wide"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def _row(cells: Sequence[str], badge: str, stands_out: bool) -> str:
    first, *others = (cell if isinstance(cell, Markup) else escape(cell) for cell in cells)
    mark = f'<span class="badge">{escape(badge)}</span>' if badge else ""
    kind = ' class="best"' if stands_out else ""
    return f"<tr{kind}><td>{first}{mark}</td>" + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>\n"


def columns(*parts: str) -> str:
    """Set parts side by side where the window is wide enough; each is markup."""
    return '<div class="columns">' + "".join(f"<div>{part}</div>" for part in parts) + "</div>\n"


def figure(svg: str, caption: str) -> str:
    """Return a figure; `svg` is markup as `figures.to_svg` gives it."""
    return f'<figure><div class="drawing">{svg}</div><figcaption>{escape(caption)}</figcaption></figure>\n'


def foldable(title: str, body: str, *, is_open: bool) -> str:
    """Return a part that readers open and close; `body` is markup."""
    return f"<details{' open' if is_open else ''}><summary>{escape(title)}</summary>\n{body}</details>\n"


def explained(text: str, further: str) -> Markup:
    """Return a cell of a text, and in small print below it a further one, either of which may be empty."""
    small = f"<small>{escape(further)}</small>" if further else ""
    return Markup(escape(text) + ("<br>" if text and small else "") + small)


def navigation(entries: Sequence[tuple[str, str]]) -> str:
    """Return links to (anchor, title) on this page."""
    return (
        "<nav>" + "".join(f'<a href="#{escape(anchor)}">{escape(title)}</a>' for anchor, title in entries) + "</nav>\n"
    )
