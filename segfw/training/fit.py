"""Train one fold: build, fit, validate, and leave a folder that tells all of it.

checkpoints/{last,best}.ckpt   metrics.csv   training.png   train.log   validation/
"""

import logging
import signal
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from segfw.core.metrics import Summary
from segfw.core.ranks import ALONE, Ranks
from segfw.training.callbacks.curves_log import CurvesLog
from segfw.training.callbacks.fold_validation import FoldValidation
from segfw.training.callbacks.progress import TrainingProgress
from segfw.training.checkpoints import AtomicCheckpointIO, Checkpoints, load_checkpoint
from segfw.training.datamodule import SegmentationDataModule
from segfw.training.devices import Device, set_threads
from segfw.training.idle import freeze_idle_parameters
from segfw.training.module import SegmentationModule, build_module
from segfw.training.pretrained import Pretrained, begin_with
from segfw.training.ranks import GivenRanks, closing_the_group, leave_sigterm_to_us
from segfw.training.run import CHECKPOINTS, LAST, FoldRun
from segfw.training.validation import FoldIO

log = logging.getLogger(__name__)

LOG_FILE = "train.log"
LIGHTNING_ADVICE = (
    ".*does not have many workers.*",
    ".*srun.*",
    ".*It will use the implementation from `LightningModule` instance.*",
    ".*LeafSpec.* is deprecated.*",
    ".*It is recommended to use `self.log.*sync_dist.*",  # of values that every rank has
    "Grad strides do not match bucket view strides.*",  # of kernels of one voxel, whose strides mean nothing
)
EXIT_AFTER_SIGTERM = 128 + signal.SIGTERM


@dataclass(frozen=True)
class FoldResult:
    """What a finished fold leaves: its last weights, the on-line estimate and, unless it is "full", its scores."""

    checkpoint: Path
    epochs: int
    patch_dice_ema: float | None
    scores: Summary | None


def fit_fold(
    run: FoldRun,
    folder: Path,
    device: Device,
    io: FoldIO,
    callbacks: Sequence[Callback] = (),
    pretrained: Pretrained | None = None,
    ranks: Ranks = ALONE,
) -> FoldResult:
    """Train `run` in `folder` from where it stands to `trainer.max_epochs`, then validate it on whole cases.

    A folder with checkpoints/last.ckpt is continued and ends as an uninterrupted training would; without one a training
    begins with what fits of `pretrained`. Ctrl-C and SIGTERM
    raise `KeyboardInterrupt` and `SystemExit` (143). Of several `ranks` each calls this; rank 0 alone writes, but for
    the whole cases, which are shared out, and has the scores. Raises `JobError` when the loss is no longer finite,
    `ArtefactError` when checkpoint or store cannot be read.
    """
    last = folder / CHECKPOINTS / LAST
    finished = int(load_checkpoint(last)["epoch"]) + 1 if last.is_file() else 0
    with _train_log(folder / LOG_FILE, ranks) as record, _own_torch_state(device), closing_the_group():
        _announce(run, device, finished, ranks)
        module = build_module(run, device)
        if pretrained is not None and not finished:
            for line in begin_with(module.network, pretrained, run).lines():
                record(f"pretrained: {line}")
        if ranks.together:
            freeze_idle_parameters(module.network, (2, run.num_channels, *run.configuration.patch_size))
        validation = FoldValidation(run, folder, io, last, ranks)
        progress = TrainingProgress(_title(run), Console(), run.trainer.enable_progress_bar, record)
        ours = (CurvesLog(folder), *((progress,) if ranks.leads else ()), validation)
        checkpoints = Checkpoints(last.parent, io.check_ownership)
        trainer = _build_trainer(run, folder, device, finished, (*ours, checkpoints, *callbacks), ranks)
        _fit(trainer, module, SegmentationDataModule.of_run(run, device, ranks), last if finished else None)
        epochs = max(finished, run.trainer.max_epochs)
        return FoldResult(last, epochs, module.patch_dice_ema, validation.summary)


def _title(run: FoldRun) -> str:
    return f"{run.plan.dataset_name} {run.configuration_name} fold {run.fold}"


def _announce(run: FoldRun, device: Device, finished: int, ranks: Ranks = ALONE) -> None:
    if not ranks.leads:
        return
    cases = f"{len(run.train_cases)} training and {len(run.val_cases)} validation cases"
    state = f"{finished} of {run.trainer.max_epochs} epochs done" if finished else f"{run.trainer.max_epochs} epochs"
    where = f"{ranks.world_size} x {device.description}" if ranks.together else device.description
    log.info("%s: %s, %s, on %s", _title(run), cases, state, where)
    if run.architecture == "unet_plus_plus" and not run.loss.deep_supervision:
        log.info("loss.deep_supervision=false trains the deepest network only: inference.depth will not be available")


def _build_trainer(
    run: FoldRun, folder: Path, device: Device, finished: int, callbacks: Sequence[Callback], ranks: Ranks
) -> Trainer:
    settings = run.trainer
    strategy = "ddp" if settings.strategy == "auto" else settings.strategy
    listed = settings.devices if isinstance(settings.devices, tuple) else ()
    trainer = Trainer(
        default_root_dir=folder,
        accelerator=device.accelerator,
        devices=list(listed) if listed and device.accelerator == "cuda" else ranks.local_size,
        num_nodes=ranks.world_size // ranks.local_size,
        strategy=strategy if ranks.together else "auto",
        precision=device.precision,  # type: ignore[arg-type]
        max_epochs=max(settings.max_epochs, finished),
        limit_train_batches=settings.limit_train_batches,
        limit_val_batches=run.val_batches,
        num_sanity_val_steps=0,
        gradient_clip_val=settings.gradient_clip_val or None,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO(), GivenRanks(ranks)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=run.deterministic,
        benchmark=device.accelerator == "cuda" and not run.deterministic,
    )
    if ranks.together:
        leave_sigterm_to_us(trainer)
    return trainer


def _fit(trainer: Trainer, module: SegmentationModule, data: SegmentationDataModule, checkpoint: Path | None) -> None:
    """Run Lightning's loops without its habit of ending the process on Ctrl-C and of staying deaf to it afterwards."""
    with _exit_on_sigterm():
        interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException as error:
            raise SystemExit(EXIT_AFTER_SIGTERM) from error
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, interrupt)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """End at once on SIGTERM unless the caller has a rule of its own: Lightning alone would finish the epoch first."""

    def leave(number: int, frame: types.FrameType | None) -> None:
        raise SystemExit(EXIT_AFTER_SIGTERM)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _own_torch_state(device: Device) -> Iterator[None]:
    """Set threads and quiet Lightning's advice for the time of a training; give back what was there."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    lightning = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in lightning]
    set_threads(device)
    for logger in lightning:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for advice in LIGHTNING_ADVICE:
                warnings.filterwarnings("ignore", message=advice)
            yield
    finally:
        for logger, level in zip(lightning, levels, strict=True):
            logger.setLevel(level)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


class _LogFile(logging.FileHandler):
    """The run's own log file; it takes what is logged, and lines that only it shows."""

    def line(self, text: str) -> None:
        self.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, text, None, None))


@contextmanager
def _train_log(path: Path, ranks: Ranks) -> Iterator[Callable[[str], None]]:
    """Keep what is logged in `path`, and yield what takes lines for this file alone; only rank 0 has one."""
    if not ranks.leads:
        yield lambda text: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    package = logging.getLogger("segfw")
    level = package.level
    package.addHandler(handler)
    package.setLevel(min(package.getEffectiveLevel(), logging.INFO))
    try:
        yield handler.line
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()
