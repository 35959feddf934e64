"""Give the program files and settings that are wrong on purpose, for as long as one likes, and count what comes of it.

    python -m scripts.fuzz images --seconds 300 --seed 0      every image format, in a process that may die
    python -m scripts.fuzz records --seconds 60               dataset.json, lists of cases, splits, plans, model.yaml
    python -m scripts.fuzz settings --seconds 300             values of every key of every verb; whole command lines

It draws from the strategies of which the tests draw few examples (`tests/faults`). What is neither read nor refused by
an error that names the file or the key is told and, if it is a file, kept in the folder `--keep`; the exit status is
1 then.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.faults.hostile_images import IMAGES
from tests.faults.hostile_records import RECORDS, judge_record
from tests.faults.hostile_settings import SETTINGS, judge_settings
from tests.faults.reading_process import ReadingProcess

ROUND = 50  # examples of one kind in a row
GOOD = ("read", "refused")
Judge = Callable[[str, Any, Path], tuple[str, str]]
"""Kind, example, empty folder -> outcome, and what is to be told of it."""


def draw(strategy: st.SearchStrategy[Any], number: int, what: Callable[[Any], None]) -> None:
    """Call `what` with `ROUND` values of a strategy; the same ones for the same number."""

    @seed(number)
    @settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(value: Any) -> None:
        what(value)

    each()


@contextmanager
def image_judge() -> Iterator[Judge]:
    """Yield what reads a damaged image in a process of its own."""
    with ReadingProcess() as reader:

        def judge(kind: str, example: Any, folder: Path) -> tuple[str, str]:
            answer = reader.answer(example.write(folder))
            return answer["outcome"], answer["told"]

        yield judge


@contextmanager
def plain_judge(judge: Judge) -> Iterator[Judge]:
    """Yield a function that needs no process of its own."""
    yield judge


KINDS = {
    "images": (IMAGES, image_judge),
    "records": (RECORDS, lambda: plain_judge(judge_record)),
    "settings": (SETTINGS, lambda: plain_judge(judge_settings)),
}


def fuzz(what: str, names: list[str], seconds: float, first: int, keep: Path) -> dict[str, Counter[str]]:
    """Try examples of each kind in turn until the time is over; return kind -> outcome -> number."""
    strategies, opened = KINDS[what]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    end = time.monotonic() + seconds
    with opened() as judge, tempfile.TemporaryDirectory() as scratch:
        for number, name in ((number, name) for number in itertools.count(first) for name in names):
            if time.monotonic() > end:
                break

            def one(example: Any, name: str = name) -> None:
                folder = Path(tempfile.mkdtemp(dir=scratch))
                outcome, told = judge(name, example, folder)
                counts[name][outcome] += 1
                if outcome not in GOOD:
                    kept = keep / f"{name}_{sum(counts[name].values())}"
                    shutil.copytree(folder, kept, dirs_exist_ok=True)
                    shown = getattr(example, "how", repr(example)[:500])
                    print(f"{kept} ({shown}): {outcome}: {told}", flush=True)
                shutil.rmtree(folder)

            draw(strategies[name], number, one)
    return counts


def main() -> int:
    """Run one kind of fuzzing, print a table of counts, and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(KINDS), nargs="?", default="images")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="some of the kinds in the first column of the table")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "segfw-fuzz")
    options = parser.parse_args()
    names = options.only or list(KINDS[options.what][0])
    counts = fuzz(options.what, names, options.seconds, options.seed, options.keep)
    print(f"{'kind':<22}{'tried':>8}{'read':>8}{'refused':>9}  wrong")
    for name, outcomes in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        wrong = {outcome: number for outcome, number in outcomes.items() if outcome not in GOOD}
        print(f"{name:<22}{sum(outcomes.values()):>8}{outcomes['read']:>8}{outcomes['refused']:>9}  {wrong or 0}")
    return int(any(outcome not in GOOD for outcomes in counts.values() for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
