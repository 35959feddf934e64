"""The Ray cluster that a command works on: the one it is given, or one of this machine that ends with the command."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from segfw.core.errors import JobError, UsageError
from segfw.core.settings.schema import ExecutorSettings
from segfw.core.support.cpu import THREADS, available_cores
from segfw.core.support.words import counted

log = logging.getLogger(__name__)

INSTALL = 'executor=ray needs Ray, which is not installed: pip install "segfw[ray]"'
TOKEN = "one with a token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token of its first node"
GRACE = 5.0  # seconds
LOCAL_OBJECTS = 256 * 2**20
"""Bytes for what travels between processes of this machine, which is small: files are shared."""


def connected(settings: ExecutorSettings) -> Any:
    """Return the module `ray`, connected to the cluster at `executor.address`; without one, one is started here.

    A command connects once; the connection, or the cluster of its own, ends with it. Raises `UsageError` where Ray is
    not installed, `JobError` where nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody outside is told of what runs
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(settings.retries))  # else one that never fits is begun for ever
    try:
        import ray
    except ImportError as error:
        raise UsageError(INSTALL) from error
    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING, "configure_logging": False}
    options["runtime_env"] = {"env_vars": environment_of(1)}
    if settings.address is None:
        options |= {"num_cpus": available_cores(), "include_dashboard": False, "object_store_memory": LOCAL_OBJECTS}
    try:
        _require_listener(settings.address)
        with _signals_kept():
            ray.init(address=settings.address or "local", **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "on this machine"
        if settings.address is not None:
            where = f"at executor.address={settings.address} ({TOKEN})"
        raise JobError(f"no Ray cluster could be used {where}: {reason}") from error
    log.info("executor: Ray, %s", description(ray))
    return ray


def _require_listener(address: str | None) -> None:
    """Raise `OSError` at once where nothing listens at HOST:PORT, which Ray tries for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), GRACE).close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back what answers signals: Ray would have the program abort on SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


def cancel(ray: Any, tasks: Sequence[Any]) -> None:
    """End `tasks` of an interrupted command, in order if that takes no longer than a moment, and the connection."""
    if not tasks:
        return
    for task in tasks:
        ray.cancel(task, force=False)
    ray.wait(list(tasks), num_returns=len(tasks), timeout=GRACE)
    ray.shutdown()


def environment_of(threads: int) -> dict[str, str]:
    """Return what a process of the cluster finds in its environment: so many threads, and where its modules lie."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "OMP_WAIT_POLICY") if name in os.environ}
    return {**kept, **dict.fromkeys(THREADS, str(threads))}


def go_to(folder: str) -> None:
    """Let relative paths mean here, in a process of the cluster, what they mean in the command's `folder`."""
    if os.path.isdir(folder):
        os.chdir(folder)


def description(ray: Any) -> str:
    """Return the size of the cluster in words."""
    total = ray.cluster_resources()
    cards = int(total.get("GPU", 0))
    parts = [counted(num_nodes(ray), "node"), counted(int(total.get("CPU", 0)), "core")]
    return ", ".join(parts + ([counted(cards, "graphics card")] if cards else []))


def num_nodes(ray: Any) -> int:
    """Return how many machines take part."""
    return sum(bool(node["Alive"]) for node in ray.nodes())


def num_of(ray: Any, resource: str) -> int:
    """Return how many units of `resource`, `CPU` or `GPU`, the cluster has."""
    return int(ray.cluster_resources().get(resource, 0))
