"""Faults as a table of aligned plain text, one row a line, so that a search for a case finds what is wrong with it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from segfw.core.cases.faults import Fault, Severity
from segfw.core.support.words import counted

COLUMNS = ("case", "severity", "kind", "what")
REPEATED = 5  # warnings of the same words about more cases than this share one row
LARGEST_ROWS = 200


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return errors first, then by case; the faults of one case keep their order."""
    return tuple(sorted(faults, key=lambda fault: (fault.severity != "error", fault.case)))


def table(faults: Sequence[Fault], rest: str) -> Iterator[tuple[Severity | None, str]]:
    """Yield (severity, line) of a title, up to 200 rows, and `rest` (where to read on) for those left out."""
    rows = [(fault.severity, (fault.case, fault.severity, fault.kind, fault.message)) for fault in _merged(faults)]
    if not rows:
        return
    shown = rows[:LARGEST_ROWS]
    widths = [max(len(cells[i]) for cells in (COLUMNS, *(cells for _, cells in shown))) for i in range(3)]

    def line(cells: tuple[str, ...]) -> str:
        return "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[3]])

    yield None, line(COLUMNS)
    for severity, cells in shown:
        yield severity, line(cells)
    if len(rows) > len(shown):
        yield None, f"... and {len(rows) - len(shown)} more rows: {rest}"


def count_words(faults: Iterable[Fault], num_cases: int) -> str:
    """Return such as "40 cases: 2 errors in 2 cases, 1 warning"."""
    faults = tuple(faults)
    errors = [fault for fault in faults if fault.severity == "error"]
    warnings = len(faults) - len(errors)
    found = f"{counted(len(errors), 'error')} in {counted(len({fault.case for fault in errors}), 'case')}"
    return f"{counted(num_cases, 'case')}: {found if errors else 'no error'}, {counted(warnings, 'warning')}"


def _merged(faults: Sequence[Fault]) -> list[Fault]:
    """Let one row stand for warnings of many cases that say the same; errors keep a row each."""
    alike: dict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in faults:
        if fault.severity == "warning":
            alike[fault.kind, fault.message].append(fault)
    rows = []
    for fault in in_order(faults):
        same = alike.get((fault.kind, fault.message), [])
        if fault.severity == "error" or len(same) <= REPEATED:
            rows.append(fault)
        elif fault is same[0]:
            message = f"{fault.message} (first: {fault.case})"
            rows.append(Fault(f"{len(same)} cases", "warning", fault.kind, message))
    return rows
