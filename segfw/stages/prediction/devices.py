"""On which devices a folder of cases is segmented: by this process on one, or by a process for each of several.

The processes ask for a case when they are ready for one, so that none waits for another, and this process, which holds
the claims, answers. One that dies takes the cases at hand with it; the others go on.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from segfw.core import errors
from segfw.core.errors import DeviceError, JobError, SegfwError
from segfw.core.settings.choices import parse_members
from segfw.core.settings.schema import InferenceSettings
from segfw.core.settings.verbs import InferenceOverrides
from segfw.core.support.cpu import THREADS, available_cores
from segfw.core.support.parents import leave_with_parent
from segfw.core.support.words import counted
from segfw.inference.bundle import Bundle, load_bundle
from segfw.inference.predictor import CasePredictor
from segfw.stages.prediction.claims import CaseList, Claimed, Nothing
from segfw.stages.prediction.flow import Outcome, segment_cases
from segfw.training.devices import Device, choose_device, set_threads
from segfw.training.team import apart

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds for a process to end when it is told to
Tell = Callable[[Outcome], None]


@dataclass(frozen=True)
class Places:
    """Devices like `device`, one for each of `numbers`: of graphics cards, else counted from 0."""

    device: Device
    numbers: tuple[int, ...]

    @property
    def description(self) -> str:
        """The devices in words."""
        count = len(self.numbers)
        return self.device.description if count == 1 else f"{count} x {self.device.description}"


@dataclass(frozen=True)
class Order:
    """What a process needs to open a model on a device; `number` is that of the graphics card."""

    model: Path
    accelerator: str
    threads: int | None
    overrides: InferenceOverrides
    number: int = 0


def choose_places(accelerator: str, devices: int | str | tuple[int, ...] = 1, threads: int | None = None) -> Places:
    """Return the devices that are meant: so many of this machine's, these ones, or `auto`, all graphics cards.

    On the processor so many processes share the cores. Raises `DeviceError` when there are not so many.
    """
    listed = devices if isinstance(devices, tuple) else None
    count = len(listed) if listed else 1 if devices == "auto" else int(str(devices))
    if accelerator in ("cpu", "mps") or not torch.cuda.is_available():
        device = choose_device(accelerator, threads=_threads_each(threads, count))
        if device.accelerator == "mps" and count > 1:
            raise DeviceError(f"devices={devices}: there is one Apple GPU, which predicts alone")
        return Places(device, tuple(range(count)))
    found = torch.cuda.device_count()
    numbers = listed or tuple(range(found if devices == "auto" else count))
    if max(numbers) >= found:
        raise DeviceError(f"devices={devices} asks for {max(numbers) + 1} graphics cards, this process sees {found}")
    threads = _threads_each(threads, len(numbers))
    return Places(apart(len(numbers), choose_device, accelerator, "auto", threads), numbers)


def open_predictor(
    model: Path,
    accelerator: str,
    threads: int | None,
    overrides: InferenceOverrides | None = None,
    trust_code: bool = False,
    number: int = 0,
) -> CasePredictor:
    """Open a packaged model on the device asked for; it predicts as it was validated, but for `overrides`.

    `trust_code`: import networks that the model only names; `number`: of the graphics card, where there are several.
    """
    device = choose_device(accelerator, threads=threads)
    overrides = overrides or InferenceOverrides()
    bundle = load_bundle(model, parse_members(overrides.folds))
    return predictor_on(device, bundle, overrides, trust_code, number)


def predictor_on(
    device: Device, bundle: Bundle, overrides: InferenceOverrides, trust_code: bool = False, number: int = 0
) -> CasePredictor:
    """Return a model that predicts as it was validated, but for `overrides`, on `device` with all of its threads."""
    set_threads(device)
    place = torch.device(device.accelerator, number) if device.accelerator == "cuda" else device.accelerator
    return CasePredictor(bundle, place, settings_of(bundle, overrides), trust_code or overrides.trust_code)


def settings_of(bundle: Bundle, overrides: InferenceOverrides) -> InferenceSettings:
    """Return how a model predicts: as it was validated, but for `overrides`."""
    own = vars(bundle.inference)
    return replace(bundle.inference, **{k: v for k, v in vars(overrides).items() if v is not None and k in own})


def segment_on_devices(order: Order, numbers: tuple[int, ...], cases: CaseList, tell: Tell) -> None:
    """Share `cases` among a process for each of `numbers`, and `tell` of each; whatever ends the wait ends them all.

    Raises what opening the model raised where no process could do that. Cases for which no process is left have failed.
    """
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    refusals: list[SegfwError] = []
    try:
        with _threads_of_libraries(order.threads):
            for number in numbers:
                workers.append(_Worker(context, replace(order, number=number)))
        at_work = {worker.connection: worker for worker in workers}
        while at_work:
            for connection in wait(list(at_work)):
                worker = at_work[connection]
                if not _answer(worker, cases, tell, refusals):
                    del at_work[worker.connection]
        if len(refusals) == len(numbers):
            raise refusals[0]
        for name in cases.waiting:
            tell(Outcome(name, failure="no process was left to begin it"))
    finally:
        for worker in workers:
            worker.end()


def _threads_each(threads: int | None, processes: int) -> int:
    return threads or max(1, available_cores() // processes)


class _Worker:
    """A process with a device, and the cases that it has."""

    def __init__(self, context: Any, order: Order) -> None:
        self.connection, theirs = context.Pipe()
        self.order = order
        self.at_hand: list[str] = []
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, order, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is the connection's end

    def end(self) -> None:
        """End the process at once if it still runs."""
        self.process.terminate()
        self.process.join(PATIENCE)
        self.process.kill()
        self.connection.close()


@dataclass(frozen=True)
class _Refusal:
    """A model that could not be opened: the kind of `SegfwError`, and its words."""

    kind: str
    message: str


@dataclass(frozen=True)
class _Line:
    """A line of the log that a process sends to the main process, which writes it under the same logger and level."""

    logger: str
    level: int
    text: str


def _answer(worker: _Worker, cases: CaseList, tell: Tell, refusals: list[SegfwError]) -> bool:
    """Deal with a message of a process; return whether it is still at work."""
    try:
        message = worker.connection.recv()
    except (EOFError, OSError):
        _bury(worker, cases, tell)
        return False
    if message == "next":
        given = cases.take()
        if isinstance(given, Claimed):
            worker.at_hand.append(given.case.name)
        worker.connection.send(given)
    elif isinstance(message, Outcome):
        worker.at_hand.remove(message.name)
        cases.give_back(message.name)
        tell(message)
    elif isinstance(message, _Line):
        logging.getLogger(message.logger).log(message.level, "device %d: %s", worker.order.number, message.text)
    elif isinstance(message, _Refusal):
        refusals.append(getattr(errors, message.kind, JobError)(message.message))
        log.error("device %d cannot be used: %s", worker.order.number, message.message)
    return True


def _bury(worker: _Worker, cases: CaseList, tell: Tell) -> None:
    """Tell of the cases that a process had when it ended: it cannot be known which of them was to blame."""
    worker.process.join()
    status = worker.process.exitcode or 0
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    if status:
        log.error("the process of device %d %s", worker.order.number, how)
    for name in worker.at_hand:
        cases.give_back(name, interrupted=True)
        others = f", with {counted(len(worker.at_hand) - 1, 'other case')} at hand" if len(worker.at_hand) > 1 else ""
        tell(
            Outcome(
                name,
                failure=f"the process of device {worker.order.number} {how}{others} (SIGKILL is often the system's "
                "answer to a lack of memory); give the command again",
            )
        )


def _work(connection: Connection, order: Order, parent: int) -> None:
    """Be the process of a device. Ctrl-C reaches it too, and is its parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_with_parent(parent)
    speaking = threading.Lock()

    def say(message: object) -> None:
        with speaking:
            connection.send(message)

    def take() -> Claimed | Nothing:
        say("next")
        given: Claimed | Nothing = connection.recv()
        return given

    logging.getLogger().addHandler(_Forwarding(say))
    logging.getLogger().setLevel(logging.INFO)
    try:
        predictor = open_predictor(order.model, order.accelerator, order.threads, order.overrides, number=order.number)
    except SegfwError as error:
        say(_Refusal(type(error).__name__, str(error)))
        return
    segment_cases(predictor, take, say)


class _Forwarding(logging.Handler):
    """Leaves to another process what is logged here."""

    def __init__(self, say: Callable[[object], None]) -> None:
        super().__init__(logging.INFO)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(_Line(record.name, record.levelno, record.getMessage()))


@contextmanager
def _threads_of_libraries(threads: int | None) -> Iterator[None]:
    """Let processes that are started within the block have so many threads of linear algebra each."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREADS, str(threads or 1)))
    try:
        yield
    finally:
        for name in THREADS:
            del os.environ[name]
        os.environ.update(before)
