"""What is told of many kills: a table of manners and stages, and the page that keeps it."""

import datetime
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.common import machine, told_command, versions

TEMPLATE = Path(__file__).with_name("reliability.md")
PACKAGES = ("segfw", "torch", "pytorch-lightning", "hydra-core", "numpy")


@dataclass(frozen=True)
class Kill:
    """One kill: in which command and stage (and its number), how, with which status and after how many seconds it
    ended.
    """

    work: str
    number: int
    stage: str
    manner: str
    status: int
    seconds: float
    round: int


@dataclass(frozen=True)
class Outcome:
    """All kills, in so many rounds; what was lost, a line each; the seconds that it took."""

    kills: tuple[Kill, ...]
    rounds: int
    losses: tuple[str, ...]
    seconds: float

    @property
    def survived(self) -> tuple[Kill, ...]:
        """The kills of rounds in which nothing was lost: of the others nobody can tell which one it was."""
        lost = {int(line.split()[1]) for line in self.losses}
        return tuple(kill for kill in self.kills if kill.round not in lost)


def told(outcome: Outcome) -> str:
    """Return the table of survived / tried kills, a row per command and stage, a column per manner."""
    manners = list(dict.fromkeys(kill.manner for kill in sorted(outcome.kills, key=lambda kill: kill.manner)))
    tried = Counter((kill.work, kill.stage, kill.manner) for kill in outcome.kills)
    survived = Counter((kill.work, kill.stage, kill.manner) for kill in outcome.survived)
    rows = dict.fromkeys(
        (kill.work, kill.stage) for kill in sorted(outcome.kills, key=lambda kill: (kill.work, kill.number))
    )
    lines = [["command", "stage", *manners, "all"], ["---"] * (len(manners) + 3)]
    for row in rows:
        cells = [_share([survived[*row, manner]], [tried[*row, manner]]) for manner in manners]
        of_row = [[counts[*row, manner] for manner in manners] for counts in (survived, tried)]
        lines.append([*row, *cells, _share(*of_row)])
    columns = [[[c[*row, manner] for row in rows] for c in (survived, tried)] for manner in manners]
    total = f"{len(outcome.survived)} / {len(outcome.kills)}"
    lines.append(["all", "", *(_share(*column) for column in columns), total])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(survived: Sequence[int], tried: Sequence[int]) -> str:
    return f"{sum(survived)} / {sum(tried)}" if sum(tried) else ""


def _listed(losses: Sequence[str]) -> str:
    """Return the first loss of each round, and how many more it had."""
    rounds: dict[str, list[str]] = {}
    for line in losses:
        rounds.setdefault(line.split()[1], []).append(line.splitlines()[0])
    lines = [f"- {found[0]}" + (f" (and {len(found) - 1} more)" if found[1:] else "") for found in rounds.values()]
    return "\n".join(lines) or "Nothing was lost."


def written(outcome: Outcome) -> str:
    """Return the page: the table, how it came about, and the rest of the template."""
    about = machine()
    times = [kill.seconds for kill in outcome.kills if "KILL" not in kill.manner]
    facts = {
        "command": told_command(["-m", "scripts.soak", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, {about['system']}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions(*PACKAGES).items()),
        "kills": str(len(outcome.kills)),
        "survived": str(len(outcome.survived)),
        "rounds": str(outcome.rounds),
        "minutes": f"{outcome.seconds / 60:.0f}",
        "median": f"{statistics.median(times):.1f}" if times else "-",
        "slowest": f"{max(times):.1f}" if times else "-",
        "table": told(outcome),
        "losses": _listed(outcome.losses),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", value)
    return text
