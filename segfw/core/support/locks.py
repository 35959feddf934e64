"""One writer per artefact, on any file system: a lock file with an owner, a heartbeat and an expiry.

`flock` does not hold over NFS, so the lock is a file made with O_EXCL. Its owner renews the file's time from a
thread; a lock whose time has not moved for `EXPIRY` seconds, or whose process is gone from this host, may be taken.
Times are compared by the clock of the file system that holds the lock: those of hosts differ. An owner that was asleep
for longer finds another's token in the file and must not commit: `Lock.check` says so.
"""

import json
import logging
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.core.support.files import writing
from segfw.core.support.interruption import uninterrupted
from segfw.core.support.parents import started_at
from segfw.core.support.strict_json import load_strict_json

log = logging.getLogger(__name__)

EXPIRY = 120.0
HEARTBEAT = 15.0
UNSIGNED = 10.0
"""Seconds after which a lock file without an owner is one of a process that was killed before it could sign."""


class Held(ArtefactError):
    """A lock has a living owner, whom the message names."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: `host` and `pid` ("?" where the file does not tell), whether that process is `alive`.

    `since` and `seen`, its last sign of life, are seconds since the epoch; `since` is None where it is not known.
    """

    host: str
    pid: str
    since: float | None
    seen: float
    alive: bool


class Lock:
    """The right to write one artefact; made by `hold`. With its `token` a process of the owner's can check it, too.

    `inherited`: from one who died, and may have left what was half written.
    """

    def __init__(self, path: Path, token: str | None = None) -> None:
        self.path = path
        self.token = token or uuid.uuid4().hex
        self.inherited = False

    def check(self) -> None:
        """Raise `ArtefactError` if another command has taken the lock in the meantime."""
        owner = _owner(self.path)
        if owner.get("token") == self.token:
            return
        if owner:
            why = f"it was removed, or not renewed for {EXPIRY:.0f} s, and {_describe(owner)} took it"
        elif self.path.exists():
            why = "its file no longer says who holds it"
        else:
            why = "it is gone: another command took it and is done, or it or its folder was removed"
        raise ArtefactError(f"lost the lock {self.path}: {why}; nothing was committed, give the command again")

    def _try(self) -> bool:
        content = {
            "token": self.token,
            "host": socket.gethostname(),
            "processes": _processes(),
            "pid": os.getpid(),
            "started": started_at(os.getpid()),
            "since": time.time(),
        }
        with uninterrupted(), writing(self.path):  # a file without an owner would have to expire
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return False
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(content, file)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                self.path.unlink()
                raise
        return True

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT):
            owner = _owner(self.path)
            if owner and owner.get("token") != self.token:
                return
            try:
                os.utime(self.path)
            except OSError as error:
                log.warning("could not renew the lock %s: %s", self.path, error)

    def _release(self) -> None:
        if _owner(self.path).get("token") == self.token:
            self.path.unlink(missing_ok=True)


def owner_of(path: Path) -> Owner | None:
    """Return who holds the lock file `path`, None where nobody does; changes nothing and never waits."""
    content = _owner(path)
    try:
        seen = path.stat().st_mtime
    except OSError:
        return None
    since = content.get("since")
    return Owner(
        host=str(content.get("host", "?")),
        pid=str(content.get("pid", "?")),
        since=float(since) if isinstance(since, int | float) else None,
        seen=seen,
        alive=_dead_owner(path, time.time()) is None,
    )


@contextmanager
def hold(path: Path, what: str, wait: bool = True) -> Iterator[Lock]:
    """Hold the lock file `path` while the block runs; `what` names the artefact in messages.

    Waits for a living owner, saying so once; with `wait=False` raises `Held` that names the owner instead.
    Raises `ArtefactError` where something else is in the lock's place.
    """
    lock = Lock(path)
    stop = threading.Event()
    heartbeat = threading.Thread(target=lock._renew, args=(stop,), name=f"lock {path.name}", daemon=True)
    try:
        _acquire(lock, what, wait)
        heartbeat.start()
        yield lock
    finally:  # an interruption may come when the file was just made
        with uninterrupted():
            stop.set()
            if heartbeat.is_alive():
                heartbeat.join()
            lock._release()


def _acquire(lock: Lock, what: str, wait: bool) -> None:
    told = False
    while not lock._try():
        _require_file(lock.path)
        dead = _dead_owner(lock.path, _now_beside(lock.path))
        if dead is not None:
            _break(lock.path, dead)
            lock.inherited = True
            continue
        owner = _describe(_owner(lock.path))
        if not wait:
            raise Held(f"{what} is being written by {owner} (lock {lock.path})")
        if not told:
            log.info("%s is being written by %s; waiting", what, owner)
            told = True
        time.sleep(1.0)


def _require_file(path: Path) -> None:
    """Raise `ArtefactError` for what no command has made: it would neither be given back nor expire."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:  # given back in the meantime
        return
    if not stat.S_ISREG(mode):
        raise ArtefactError(f"{path} is in the place of a lock; remove it")


def _owner(path: Path) -> dict[str, object]:
    try:
        content = load_strict_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe(owner: dict[str, object]) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"


def _processes() -> str:
    """Return what names the set of processes that this one's number counts in; '' where the system does not tell.

    A host's name does not: containers may share it and count their processes on their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _now_beside(path: Path) -> float:
    """Return the time by the clock that gives the files beside `path` their times; this host's where none can be made.

    Of a shared file system it is the server's.
    """
    probe = path.with_name(f"{path.name}.now-{uuid.uuid4().hex[:8]}")
    try:
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()
    except OSError:
        return time.time()


def _dead_owner(path: Path, now: float) -> dict[str, object] | None:
    """Return the owner if it is gone: not renewed for `EXPIRY`, not signed for `UNSIGNED` seconds, or a process of this
    host that no longer runs.
    """
    owner = _owner(path)
    try:
        age = now - path.stat().st_mtime
    except FileNotFoundError:
        return None
    if age > EXPIRY or (not owner and age > UNSIGNED):
        return owner
    here = (socket.gethostname(), _processes())
    if (owner.get("host"), owner.get("processes")) != here or not isinstance(owner.get("pid"), int):
        return None
    return owner if started_at(int(str(owner["pid"]))) != owner.get("started") else None


def _break(path: Path, dead: dict[str, object]) -> None:
    """Remove the lock of a dead owner. Whoever was faster may hold the file by now: a living one's is put back."""
    grave = path.with_name(f"{path.name}.dead-{uuid.uuid4().hex[:8]}")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    if _owner(grave) != dead:
        try:
            os.link(grave, path)
        except FileExistsError:
            log.warning("the lock %s changed hands twice at once; its first owner will not commit", path)
    grave.unlink(missing_ok=True)
