"""How the first of several processes, started together by torchrun or srun, calls the others to a fit: by files.

Hours may pass in preprocessing, longer than collectives wait. Rank 0 keeps `session.json` in a folder that is the
same for the whole launch and renews a counter in it; what an earlier launch left there does not count up. Beside it
lie, under the session's token, `call_<n>.json` (the n-th fit), `beat_<r>` (rank r is alive) and `left_<r>` (it has
seen the end).
"""

import json
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segfw.core.errors import JobError
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import write_text
from segfw.core.support.ranks import Ranks
from segfw.stages.trainings.fold_files import FoldFiles
from segfw.stages.trainings.rank_watch import beating, sign_in, watching
from segfw.workspace import Workspace

LOOK_SECONDS = 0.3
SILENCE = 120.0  # seconds without a beat after which rank 0 is taken to be gone
FAREWELL = 60.0  # seconds for the others to see the end
SESSION = "session.json"


@dataclass(frozen=True)
class Session:
    """State of a launch. `end`: empty while it goes on, else "done" or "failed"."""

    token: str
    beat: int = 0
    end: str = ""


@dataclass(frozen=True)
class Call:
    """A fit to take part in: the run's folder, its raw files, how long it may take, and where the ranks meet.

    `seconds_left`: None for no limit; `address` and `port`: empty where a launcher of its own has started the ranks.
    """

    folder: str
    files: FoldFiles
    seconds_left: float | None
    address: str = ""
    port: int = 0


def session_folder(workspace: Workspace, ranks: Ranks) -> Path:
    """Return where the processes of this launch leave word for one another."""
    return workspace.root / ".ranks" / ranks.launch


@contextmanager
def leading(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Be rank 0 while the block runs; in the end wait until every other rank knows of it."""
    token, end, told = uuid.uuid4().hex, "", False

    def write(beat: int) -> None:
        write_text(folder / SESSION, json.dumps(to_plain(Session(token, beat, end))))

    try:
        with beating(write):
            try:
                yield
                end = "done"
            finally:
                end = end or "failed"
                left = [folder / token / f"left_{rank}" for rank in range(1, ranks.world_size)]
                told = end == "done" and _comes_true(lambda: all(path.exists() for path in left), FAREWELL)
    finally:
        if told:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            write(0)


def call_ranks(folder: Path, call: Call) -> None:
    """Call the other ranks of the session that this process leads to a fit."""
    session = _read(folder)
    assert session is not None
    place = folder / session.token
    number = len(list(place.glob("call_*.json")))
    write_text(place / f"call_{number}.json", json.dumps(to_plain(call)))


@contextmanager
def watching_others(folder: Path, ranks: Ranks) -> Iterator[None]:
    """End this process when a rank that it may wait for within the block is lost: rank 0, or for rank 0 any other."""
    if ranks.leads:
        session = _read(folder)
        assert session is not None
        others = range(1, ranks.world_size)
        signs = {rank: sign_in(_beat_of(folder, session, rank)) for rank in others}
    else:
        signs = {0: sign_in(folder / SESSION)}
    with watching(signs):
        yield


def calls(folder: Path, ranks: Ranks) -> Iterator[Call]:
    """Yield the fits that rank 0 calls for, until it is done; `JobError` when it has failed or fallen silent."""
    session = _find_session(folder)
    mine = _beat_of(folder, session, ranks.rank)
    mine.parent.mkdir(exist_ok=True)
    with beating(lambda beat: mine.write_text(str(beat), encoding="utf-8")):
        end = yield from _calls_of(session, folder, ranks)
    write_text(folder / session.token / f"left_{ranks.rank}", "")
    if end != "done":
        raise JobError(f"rank {ranks.rank} stops because rank 0 has failed")


def _calls_of(session: Session, folder: Path, ranks: Ranks) -> Generator[Call, None, str]:
    """Yield what rank 0 calls for in a session, and return how it has ended."""
    number, heard = 0, time.monotonic()
    while True:
        path = folder / session.token / f"call_{number}.json"
        if path.is_file():
            yield from_plain(Call, json.loads(path.read_text(encoding="utf-8")), str(path))
            number, heard = number + 1, time.monotonic()
            continue
        now = _read(folder)
        if now is not None and now.token == session.token and now.end:
            return now.end
        if now is not None and now != session:
            if now.token != session.token:
                raise JobError(f"rank {ranks.rank} stops because another launch has taken {folder}")
            session, heard = now, time.monotonic()
        if time.monotonic() - heard > SILENCE:
            raise JobError(f"rank {ranks.rank} stops because rank 0 has given no sign for {SILENCE:.0f} s ({folder})")
        time.sleep(LOOK_SECONDS)


def _beat_of(folder: Path, session: Session, rank: int) -> Path:
    return folder / session.token / f"beat_{rank}"


def _find_session(folder: Path) -> Session:
    """Wait for a session whose counter is seen to move."""
    first, begun = _read(folder), time.monotonic()
    while time.monotonic() - begun < SILENCE:
        now = _read(folder)
        if now is not None and first is not None and now.token == first.token and now.beat > first.beat > 0:
            return now
        if now is not None and (first is None or now.token != first.token):
            first = now
        time.sleep(LOOK_SECONDS)
    raise JobError(f"rank 0 has not begun within {SILENCE:.0f} s; all ranks must see the folder {folder}")


def _read(folder: Path) -> Session | None:
    try:
        return from_plain(Session, json.loads((folder / SESSION).read_text(encoding="utf-8")), SESSION)
    except (OSError, ValueError):
        return None


def _comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
