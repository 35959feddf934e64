"""HTML by small functions: every text is escaped here, and only finished markup is joined elsewhere."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --font: system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
  --page: #f4f6f8; --card: #ffffff; --ink: #1f2933; --muted: #66727f; --grid: #e3e8ee; --good: #1f7a52;
  --good-back: #e5f4ec;
  --series-1: #2563a8; --series-2: #d9622b; --series-3: #2f8f6b; --series-4: #8e5bb5; --series-5: #b8860b;
  --series-6: #c2487c; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161b; --card: #1b2128; --ink: #e6ebf0; --muted: #98a5b3; --grid: #323b46; --good: #7fd6a8;
  --good-back: #1d3a2c;
  --series-1: #6ea8e8; --series-2: #f08c5a; --series-3: #5fc29b; --series-4: #bd93df; --series-5: #d8ae45;
  --series-6: #e884ad; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 var(--font); }
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 12px; }
h3 { font-size: 15px; margin: 22px 0 8px; }
p { margin: 0 0 12px; max-width: 76ch; }
.quiet, footer, figcaption, nav { color: var(--muted); }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0 22px; }
nav a { color: inherit; text-underline-offset: 3px; }
section { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 20px 24px;
  margin: 0 0 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 18px; }
.tile { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 12px 16px;
  min-width: 0; }
.tile b { display: block; font-size: 21px; line-height: 1.3; overflow-wrap: anywhere; }
.tile span { color: var(--muted); font-size: 13px; }
.wide { overflow-x: auto; margin-bottom: 12px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 0 48px; }
.columns h3 { margin-top: 4px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 6px 14px 6px 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--grid); }
th { color: var(--muted); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
tr.best td { color: var(--good); font-weight: 600; }
.badge { background: var(--good-back); color: var(--good); border-radius: 6px; padding: 1px 8px; margin-left: 8px;
  font-size: 12px; }
figure { margin: 12px 0 4px; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: 13px; margin-top: 4px; }
details { border-top: 1px solid var(--grid); padding: 8px 0; }
summary { cursor: pointer; font-weight: 500; }
footer { padding: 6px 20px 40px; font-size: 13px; }
@media print { body { background: none; } section { break-inside: avoid; } }
"""


def page(title: str, header: str, sections: Sequence[str], footer: str) -> str:
    """Return a whole page; all arguments but `title` are markup. It loads nothing from anywhere."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>\n{''.join(sections)}</main>\n<footer>{footer}</footer>\n</body>\n</html>\n"
    )


def heading(text: str, level: int) -> str:
    """Return a heading."""
    return f"<h{level}>{escape(text)}</h{level}>\n"


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Return a paragraph; a `quiet` one says what is not there or how to read what is."""
    kind = ' class="quiet"' if quiet else ""
    return f"<p{kind}>{escape(text)}</p>\n"


def section(anchor: str, title: str, *body: str) -> str:
    """Return a card with a heading; `body` is markup."""
    return f'<section id="{escape(anchor)}">\n{heading(title, 2)}{"".join(body)}</section>\n'


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Return a row of (what, how much)."""
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in facts
    )
    return f'<div class="tiles">{cells}</div>\n'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None, badge: str = "") -> str:
    """Return a table of texts: first column left, others right; row `best` stands out by `badge`."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = ""
    for number, row in enumerate(rows):
        first, *others = (escape(cell) for cell in row)
        mark = f'<span class="badge">{escape(badge)}</span>' if number == best and badge else ""
        cells = f"<td>{first}{mark}</td>" + "".join(f"<td>{cell}</td>" for cell in others)
        kind = ' class="best"' if number == best else ""
        body += f"<tr{kind}>{cells}</tr>\n"
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def columns(*parts: str) -> str:
    """Set parts side by side where the window is wide enough; each is markup."""
    return '<div class="columns">' + "".join(f"<div>{part}</div>" for part in parts) + "</div>\n"


def figure(svg: str, caption: str) -> str:
    """Return a figure; `svg` is markup as `figures.to_svg` gives it."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>\n"


def foldable(title: str, body: str, *, is_open: bool) -> str:
    """Return a part that readers open and close; `body` is markup."""
    return f"<details{' open' if is_open else ''}><summary>{escape(title)}</summary>\n{body}</details>\n"


def navigation(entries: Sequence[tuple[str, str]]) -> str:
    """Return links to (anchor, title) on this page."""
    return (
        "<nav>" + "".join(f'<a href="#{escape(anchor)}">{escape(title)}</a>' for anchor, title in entries) + "</nav>\n"
    )
