"""Read files that are damaged on purpose, for as long as one likes, and count what became of them.

    python scripts/fuzz.py images --seconds 300 --seed 0

`images` draws from the strategies that the tests draw few examples of (`tests/faults`). What crashed, hung, took too
much memory or was not refused by an error that names the file is kept in `--keep` and told; the exit status is 1 then.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.faults.hostile_images import IMAGES, Hostile
from tests.faults.reading_process import ReadingProcess

ROUND = 50  # files of one format in a row
GOOD = ("read", "refused")


def draw(strategy: st.SearchStrategy, number: int, what) -> None:
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
    def each(value) -> None:
        what(value)

    each()


def fuzz_images(formats: list[str], seconds: float, first: int, keep: Path) -> dict[str, Counter]:
    """Read files of each format in turn until the time is over; return format -> outcome -> number."""
    counts: dict[str, Counter] = defaultdict(Counter)
    end = time.monotonic() + seconds
    with ReadingProcess() as reader, tempfile.TemporaryDirectory() as scratch:
        for number in itertools.count(first):
            for name in formats:
                if time.monotonic() > end:
                    return counts

                def read(hostile: Hostile, name: str = name) -> None:
                    folder = Path(tempfile.mkdtemp(dir=scratch))
                    answer = reader.answer(hostile.write(folder))
                    counts[name][answer["outcome"]] += 1
                    if answer["outcome"] not in GOOD:
                        kept = keep / f"{name}_{sum(counts[name].values())}"
                        shutil.copytree(folder, kept, dirs_exist_ok=True)
                        print(f"{kept}/{hostile.target} ({hostile.how}): {answer['outcome']}: {answer['told']}", flush=True)
                    shutil.rmtree(folder)

                draw(IMAGES[name], number, read)
    return counts


def main() -> int:
    """Run one kind of fuzzing, print a table of counts, and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["images"], nargs="?", default="images")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="*", choices=sorted(IMAGES), default=sorted(IMAGES))
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "segfw-fuzz")
    given_ = parser.parse_args()
    counts = fuzz_images(given_.formats, given_.seconds, given_.seed, given_.keep)
    print(f"{'format':<12}{'tried':>8}{'read':>8}{'refused':>9}{'wrong':>7}")
    for name, outcomes in counts.items():
        wrong = {kind: number for kind, number in outcomes.items() if kind not in GOOD}
        print(f"{name:<12}{sum(outcomes.values()):>8}{outcomes['read']:>8}{outcomes['refused']:>9}  {wrong or ''}")
    print(f"{'all':<12}{sum(sum(outcomes.values()) for outcomes in counts.values()):>8}")
    return int(any(kind not in GOOD for outcomes in counts.values() for kind in outcomes))


if __name__ == "__main__":
    sys.exit(main())
