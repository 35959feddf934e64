"""Kill commands at random moments, give them again until they are done, and compare with what nobody disturbed.

    python -m scripts.soak --kills 200 --seed 0 --output docs/reliability.md [--jobs 2] [--minutes 30]

A round is one output folder: the same command is begun and killed up to four times, then runs to its end. After every
kill each file that bears its own name must be readable and no process may be left; after the last the outcome must be
that of the undisturbed command. Without `--output` the table is printed. The status is 1 if anything was lost.
"""

import argparse
import itertools
import math
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from scripts.soaking.judging import damaged, differences, remains
from scripts.soaking.killing import LIMIT, MANNERS, POLL, Ended, Manner, Moment, completed, killed, running
from scripts.soaking.nursery import Nursery
from scripts.soaking.record import Kill, Outcome, told, written
from scripts.soaking.works import Work, works, write_dataset

MOST = 4
"""Kills of one round."""
COLD = 5
"""Every so many rounds start as a user's do; the others from processes that have loaded the program already."""
SHARES = {"main": 6, "workers": 4, "predict": 4, "demo": 2, "devices": 1}
"""How many rounds each work has, of all of these."""
STARTED_OUT = (-signal.SIGINT, -signal.SIGTERM)
"""Status of a command that had not come so far as to answer these signals."""
IN_ORDER = {signal.SIGINT: 130, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGKILL: -signal.SIGKILL}


@dataclass(frozen=True)
class Reference:
    """An undisturbed command: its output, its duration, and when each stage began, in seconds."""

    output: Path
    seconds: float
    lengths: tuple[float, ...]


@dataclass
class Round:
    """What became of one output folder."""

    number: int
    work: str
    kills: list[Kill] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do so many kills; return 1 if one of them cost something."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts in the background ignore it
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="segfw-soak-") as folder:
        listed, references = prepare(Path(folder), given.works.split(","))
        end = begun + 60 * given.minutes
        rounds = soak(listed, references, Path(folder), given.kills, given.seed, given.jobs, end)
    kills = [kill for each in rounds for kill in each.kills]
    losses = [f"round {each.number} ({each.work}): {loss}" for each in rounds for loss in each.lost]
    outcome = Outcome(tuple(kills), len(rounds), tuple(losses), round(time.monotonic() - begun))
    if given.output is None:
        print(told(outcome))
    else:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(written(outcome), encoding="utf-8")
    print("\n".join(losses) or f"{len(kills)} kills, nothing lost", flush=True)
    return int(bool(losses))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many at least")
    parser.add_argument("--seed", type=int, default=0, help="draws moments and manners")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no round after so many")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at once")
    parser.add_argument("--works", default=",".join(SHARES), help=f"which commands, of {', '.join(SHARES)}")
    parser.add_argument("--output", type=Path, help="a Markdown file; none: print")
    return parser


def prepare(folder: Path, names: Sequence[str]) -> tuple[dict[str, Work], dict[str, Reference]]:
    """Make the data, and run every one of the works `names`, or the one it is measured by, undisturbed."""
    write_dataset(folder / "data")
    listed = works(folder / "data", folder / "reference_main" / "Soak" / "models" / "main")
    references: dict[str, Reference] = {}
    nursery = Nursery()
    for name in dict.fromkeys(("main", *names)):
        if listed[name].reference is None:
            references[name] = undisturbed(listed[name], folder / f"reference_{name}", nursery)
            print(f"{name}: {references[name].seconds:.1f} s undisturbed", flush=True)
    nursery.close()
    return {name: listed[name] for name in names}, references


def undisturbed(work: Work, output: Path, nursery: Nursery | None = None) -> Reference:
    """Run a command to its end, noting how long each stage takes; `RuntimeError` if it fails."""
    begun, starts = time.monotonic(), {0: 0.0}
    moments = watched(work, output, starts, nursery)
    if moments.status:
        raise RuntimeError(f"{work.name} fails undisturbed, status {moments.status}:\n{moments.said}")
    ends = [*sorted(starts.values())[1:], time.monotonic() - begun]
    order = sorted(starts, key=lambda stage: starts[stage])
    lengths = dict(zip(order, (b - starts[stage] for stage, b in zip(order, ends, strict=True)), strict=True))
    return Reference(output, time.monotonic() - begun, tuple(lengths.get(i, 0.0) for i in range(len(work.stages))))


def watched(work: Work, output: Path, starts: dict[int, float], nursery: Nursery | None) -> Ended:
    """Run a command to its end and note in `starts` when each stage first began."""
    begun = time.monotonic()
    with running(work, output, nursery) as command:
        while not command.wait(POLL) and time.monotonic() - begun < LIMIT:
            starts.setdefault(command.stage, time.monotonic() - begun)
        status = command.process.poll()
        return Ended(1 if status is None else status, None, time.monotonic() - begun, command.said)


def soak(
    listed: Mapping[str, Work],
    references: Mapping[str, Reference],
    folder: Path,
    kills: int,
    seed: int,
    jobs: int,
    end: float = math.inf,
) -> list[Round]:
    """Do rounds, `jobs` at once, until there were so many kills or, by `time.monotonic`, the `end` has come."""
    order = [name for name, share in SHARES.items() if name in listed for _ in range(share)]
    random.Random(seed).shuffle(order)
    names, numbers = itertools.cycle(order), itertools.count()
    done: list[Round] = []
    waiting: set[Future[Round]] = set()
    nurseries: SimpleQueue[Nursery] = SimpleQueue()
    for _ in range(jobs):
        nurseries.put(Nursery())
    with ThreadPoolExecutor(jobs) as pool:
        while (goes_on := sum(len(each.kills) for each in done) < kills and time.monotonic() < end) or waiting:
            while len(waiting) < jobs and goes_on:
                work, number = listed[next(names)], next(numbers)
                reference = references[work.reference or work.name]
                output = folder / f"round_{number}"
                waiting.add(pool.submit(play, work, reference, output, number, seed, nurseries))
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for each in (future.result() for future in ended):
                done.append(each)
                total = sum(len(other.kills) for other in done)
                print(f"round {each.number} {each.work}: {total} kills; {each.lost or 'nothing lost'}", flush=True)
    while not nurseries.empty():
        nurseries.get().close()
    return sorted(done, key=lambda each: each.number)


def play(
    work: Work, reference: Reference, output: Path, number: int, seed: int, nurseries: "SimpleQueue[Nursery]"
) -> Round:
    """Do one round in the folder `output`, which is removed if nothing was lost."""
    nursery = nurseries.get()
    try:
        return _play(work, reference, output, number, seed, None if number % COLD == COLD - 1 else nursery)
    finally:
        nurseries.put(nursery)


def _play(work: Work, reference: Reference, output: Path, number: int, seed: int, nursery: Nursery | None) -> Round:
    rng = random.Random(f"{seed} {number}")
    result = Round(number, work.name)
    for _ in range(rng.randint(1, MOST)):
        manner = MANNERS[(number + len(result.kills)) % len(MANNERS)]
        ended = killed(work, output, draw_moment(rng, reference), manner, rng.uniform(0.0, 1.0), nursery)
        if ended.stage is None:
            result.lost += [f"status {ended.status} before any signal:\n{ended.said}"] if ended.status else []
            break
        stage = work.stage(ended.stage)
        kill = Kill(work.name, ended.stage, stage, manner.name, ended.status, ended.seconds, number)
        result.kills.append(kill)
        result.lost += judge_kill(ended, manner, output)
    last = completed(work, output, nursery)
    if last.status or last.hung:
        result.lost.append(f"the last command {'hung' if last.hung else f'ended with {last.status}'}:\n{last.said}")
    result.lost += [f"{name} is left at the end" for name in remains(output)]
    result.lost += differences(output, reference.output)
    if not result.lost:
        shutil.rmtree(output, ignore_errors=True)
    return result


def draw_moment(rng: random.Random, reference: Reference) -> Moment:
    """Draw a moment: half of them anywhere in the command's time, half in a stage of which each is as likely."""
    if rng.random() < 0.5:
        return Moment(0, rng.uniform(0.0, reference.seconds))
    stage = rng.randrange(len(reference.lengths))
    return Moment(stage, rng.uniform(0.0, reference.lengths[stage]))


def judge_kill(ended: Ended, manner: Manner, output: Path) -> list[str]:
    """Return what is wrong right after a kill."""
    found = [f"{name} after {manner.name}" for name in damaged(output)]
    found += [f"{line} still ran after {manner.name}" for line in ended.left]
    allowed = (0, IN_ORDER[manner.number], *STARTED_OUT)
    if ended.hung:
        found.append(f"hung after {manner.name}:\n{ended.said}")
    elif ended.status not in allowed:
        found.append(f"status {ended.status} after {manner.name}:\n{ended.said}")
    return found


if __name__ == "__main__":
    sys.exit(main())
