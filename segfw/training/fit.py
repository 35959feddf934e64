"""Train one fold: build, fit, validate, and leave a folder that tells all of it.

checkpoints/{last,best}.ckpt (previous.ckpt while it trains)   metrics.csv   training.png   train.log   validation/
"""

import logging
import math
import signal
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from segfw.core.scoring.metrics import Summary
from segfw.core.support.log_file import LogFile
from segfw.core.support.parents import EXIT_AFTER_SIGTERM
from segfw.core.support.ranks import ALONE, Ranks
from segfw.core.support.words import counted, in_words
from segfw.nn.schedules import learning_rate_factor
from segfw.tracking.curve_rows import METRICS_FILE, read_rows
from segfw.training.callbacks.curves_log import CurvesLog
from segfw.training.callbacks.fold_validation import FoldValidation
from segfw.training.callbacks.progress import TrainingProgress
from segfw.training.callbacks.weight_average import WeightAverage
from segfw.training.checkpoints import AtomicCheckpointIO, Checkpoints, checkpoint_to_go_on_from, load_checkpoint
from segfw.training.datamodule import SegmentationDataModule
from segfw.training.devices import Device, set_threads
from segfw.training.ending import Ended, Standing, standing_of
from segfw.training.epoch_cost import EpochCost, Machine
from segfw.training.idle import freeze_idle_parameters
from segfw.training.leaving import Leaving
from segfw.training.module import SegmentationModule, build_module
from segfw.training.out_of_memory import explained_out_of_memory
from segfw.training.pretrained import Pretrained, begin_with
from segfw.training.profiling import profiled
from segfw.training.ranks import GivenRanks, closing_the_group, leave_sigterm_to_us
from segfw.training.run import CHECKPOINTS, LAST, PREVIOUS, PROGRESS, TRAIN_LOG, FoldRun
from segfw.training.signs import SignsOfLife
from segfw.training.validation import FoldIO
from segfw.training.worker_errors import explained_worker_deaths

log = logging.getLogger(__name__)

LIGHTNING_ADVICE = (
    ".*does not have many workers.*",
    ".*srun.*",
    ".*It will use the implementation from `LightningModule` instance.*",
    ".*LeafSpec.* is deprecated.*",
    ".*your dataloader is not resumable.*",  # it is: see EpochBatchSampler.begin_with
    ".*It is recommended to use `self.log.*sync_dist.*",  # of values that every rank has
    "Grad strides do not match bucket view strides.*",  # of kernels of one voxel, whose strides mean nothing
)


@dataclass(frozen=True)
class FoldResult:
    """What a finished fold leaves: its last weights, the on-line estimate and, unless it is "full", its scores.

    `seconds`: of training, over all commands; `machine`: what it was trained on.
    """

    checkpoint: Path
    epochs: int
    patch_dice_ema: float | None
    scores: Summary | None
    ended: Ended
    seconds: float
    machine: Machine = field(default_factory=Machine)


def fit_fold(
    run: FoldRun,
    folder: Path,
    device: Device,
    io: FoldIO,
    callbacks: Sequence[Callback] = (),
    pretrained: Pretrained | None = None,
    deadline: float = math.inf,
    ranks: Ranks = ALONE,
) -> FoldResult:
    """Train `run` in `folder` from where it stands to the end of its horizon, then validate it on whole cases.

    A folder with checkpoints/last.ckpt is continued and ends as an uninterrupted training would; without one a training
    begins with what fits of `pretrained`. Ctrl-C and SIGTERM raise `KeyboardInterrupt` and `SystemExit` (143).
    Of several `ranks` each calls this; rank 0 alone writes, but for the whole cases, which are shared out, and has the
    scores. Raises `JobError` when the loss is no longer finite, memory does not suffice, or the `deadline` (seconds of
    `time.monotonic`) is over; `ArtefactError` when checkpoint or store cannot be read.
    """
    last = folder / CHECKPOINTS / LAST
    with _train_log(folder / TRAIN_LOG, ranks) as record, _own_torch_state(device), closing_the_group():
        content = checkpoint_to_go_on_from(last.parent, ranks.leads)
        standing = None if content is None else standing_of(content)
        del content
        if ranks.leads:
            _announce(run, device, standing, callbacks, ranks)
        module = build_module(run, device)
        if pretrained is not None and standing is None:
            for line in begin_with(module.network, pretrained, run).lines():
                record(f"pretrained: {line}")
        if ranks.together:
            freeze_idle_parameters(module.network, (2, run.num_channels, *run.configuration.patch_size))
        signs = SignsOfLife(folder / PROGRESS) if ranks.leads else None
        validation = FoldValidation(run, folder, io, last, ranks, signs)
        left = None if run.time_budget is None else lambda: max(0.0, (run.time_budget or 0) - module.clock.seconds)
        bar, whole_cases = run.trainer.enable_progress_bar, bool(run.val_cases)
        progress = TrainingProgress(_title(run), Console(), bar, record, left, signs, whole_cases)
        half_life = run.trainer.ema_half_life
        average = () if half_life is None else (WeightAverage(half_life),)
        leaving = Leaving()
        checkpoints = Checkpoints(last.parent, io.check_ownership, run.trainer.checkpoint_minutes, deadline, leaving)
        shown = (progress,) if ranks.leads else ()
        cost = EpochCost(device, run.configuration.batch_size)
        ours = (CurvesLog(folder, cost, io.check_ownership), *shown, *average, validation, checkpoints)
        trainer = _build_trainer(run, folder, device, standing, (*ours, *callbacks), ranks)
        with explained_out_of_memory(run, device, lambda: validation.began), profiled(trainer, run, folder, ranks):
            data = SegmentationDataModule.of_run(run, device, ranks, cost)
            _fit(trainer, module, data, last if standing else None, leaving)
        if ranks.leads:
            io.check_ownership()
            last.with_name(PREVIOUS).unlink(missing_ok=True)
        end = standing_of(load_checkpoint(last))
        machine = cost.machine(_where(device, ranks), read_rows(folder / METRICS_FILE))
        ended, ema = end.end(run), module.patch_dice_ema
        return FoldResult(last, end.epochs, ema, validation.summary, ended, end.seconds, machine)


def _title(run: FoldRun) -> str:
    return f"{run.plan.dataset_name} {run.configuration_name} fold {run.fold}"


def _where(device: Device, ranks: Ranks) -> str:
    return f"{ranks.world_size} x {device.training}" if ranks.together else device.training


def _announce(
    run: FoldRun, device: Device, standing: Standing | None, callbacks: Sequence[Callback] = (), ranks: Ranks = ALONE
) -> None:
    cases = f"{len(run.train_cases)} training and {counted(len(run.val_cases), 'validation case')}"
    whole = counted(run.trainer.max_epochs, "epoch")
    if run.time_budget is not None:
        whole = f"{in_words(run.time_budget)} of training"
    state = whole if standing is None else f"{standing.done(run)} of {whole} done"
    log.info("%s: %s, %s, on %s", _title(run), cases, state, _where(device, ranks))
    if standing is not None:
        _announce_horizon(run, standing)
    if not run.val_batches and any(isinstance(callback, EarlyStopping) for callback in callbacks):
        log.warning("there is no on-line validation here, so that early stopping on its metrics never stops")
    if run.architecture == "unet_plus_plus" and not run.loss.deep_supervision:
        log.info("loss.deep_supervision=false trains the deepest network only: inference.depth will not be available")


def _announce_horizon(run: FoldRun, standing: Standing) -> None:
    """Say what another number of epochs does to the learning rate."""
    before, now = standing.max_epochs, run.trainer.max_epochs
    if run.time_budget is not None or before in (None, now) or standing.limit(run) == standing.epochs:
        return
    old, new = (learning_rate_factor(run.schedule, min(1.0, standing.epochs / epochs)) for epochs in (before, now))
    log.info(
        "trainer.max_epochs was %d and is %d: the schedule is stretched over them, so the learning rate goes on at "
        "%.3g instead of %.3g",
        *(before, now, run.optimizer.lr * new, run.optimizer.lr * old),
    )


def _build_trainer(
    run: FoldRun,
    folder: Path,
    device: Device,
    standing: Standing | None,
    callbacks: Sequence[Callback],
    ranks: Ranks = ALONE,
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
        max_epochs=(standing or Standing(0, 0.0, None, None)).limit(run),
        limit_train_batches=settings.limit_train_batches,
        limit_val_batches=run.val_batches,
        check_val_every_n_epoch=settings.check_val_every_n_epoch,
        num_sanity_val_steps=0,
        gradient_clip_val=settings.gradient_clip_val or None,
        accumulate_grad_batches=settings.accumulate_grad_batches,
        detect_anomaly=settings.detect_anomaly,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO(), GivenRanks(ranks)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=run.deterministic,
        benchmark=device.accelerator == "cuda" and not run.deterministic,
    )
    leave_sigterm_to_us(trainer)
    return trainer


def _fit(
    trainer: Trainer,
    module: SegmentationModule,
    data: SegmentationDataModule,
    checkpoint: Path | None,
    leaving: Leaving,
) -> None:
    """Run Lightning's loops without its habit of ending the process on Ctrl-C and of staying deaf to it afterwards."""
    with _exit_on_sigterm(), leaving.listening(), explained_worker_deaths():
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


@contextmanager
def _train_log(path: Path, ranks: Ranks) -> Iterator[Callable[[str], None]]:
    """Keep what is logged in `path`, and yield what takes lines for this file alone; only rank 0 has one."""
    if not ranks.leads:
        yield lambda text: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = LogFile(path, encoding="utf-8")
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
