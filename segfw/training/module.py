"""What Lightning trains: a network, a loss, an optimizer, and what is logged of them.

Nothing in a step waits for the device: losses are averaged, voxels counted and failures noted there, and read once an
epoch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from segfw.data.augmentation import Augmentation, augment, build_augmentation, encode_target
from segfw.data.randomness import sample_generator
from segfw.inference.cascade import append_one_hot
from segfw.nn.bfloat16 import keep_shallow_in_float32
from segfw.nn.build import fresh_network, lay_channels_last
from segfw.nn.losses import DeepSupervisionLoss, build_loss
from segfw.nn.schedules import learning_rate_factor
from segfw.training.clock import Clock
from segfw.training.devices import Device
from segfw.training.ending import ENDED_KEY, MAX_EPOCHS_KEY, SECONDS_KEY, ending
from segfw.training.optimizers import build_optimizer
from segfw.training.patch_dice import PatchDice, mean_dice, moving_average
from segfw.training.run import FoldRun
from segfw.training.step_watch import StepWatch, refuse_bad_weights

Batch = dict[str, Any]
EMA_KEY, LOSSES_KEY = "patch_dice_ema", "epoch_losses"
FUSED_PRECISIONS = ("32-true", "bf16-mixed")
"""Where no scaler stands between gradient and optimizer: a fused one would unscale after clipping."""
PER_EPOCH: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": 1}
"""A mean over an epoch's steps, and over the ranks, whose losses are weighed for that already."""


class SegmentationModule(LightningModule):
    """Train `network` with `loss` as `run` says; `loss(outputs, target)` takes what the network returns."""

    def __init__(self, network: nn.Module, loss: nn.Module, augmentation: Augmentation, run: FoldRun) -> None:
        super().__init__()
        self.network, self.loss, self.augmentation = network, loss, augmentation
        self.run, self.labels = run, run.plan.labels
        self.patch_dice = PatchDice(self.labels)
        self.patch_dice_ema: float | None = None
        self.clock = Clock()
        self.fused = False
        self._rate_by_step = False
        self._watch: StepWatch | None = None
        self._carried: tuple[int, float] = (0, 0.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer; its learning rate is set by the hooks below, from the progress alone."""
        return build_optimizer(self.run.optimizer, list(self.network.parameters()), self.fused)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Bound the total 2-norm; here, since Lightning refuses fused optimizers even where no gradient is scaled."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Keep the samples' numbers on the host, where the random numbers come from."""
        return {**batch, "indices": batch["indices"].tolist()}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches unless their workers did, then turn label maps into the loss's targets."""
        image, label = batch["image"], batch["label"]
        if self.trainer.training and self.run.augmentation.device == "auto":
            image, label = augment(self.augmentation, image, label, self.run.seed, batch["epoch"], batch["indices"])
        if self.run.configuration.previous_stage is not None:
            image, label = append_one_hot(image, label[:, 1:], self.labels.foreground_values), label[:, :1]
        return {**batch, "image": image, "target": encode_target(label, self.labels)}

    def on_train_start(self) -> None:
        """Go on with the clock and, within an epoch, with what it has shown and its learning rate."""
        self.clock.start()
        self._watch = StepWatch(self.device, self._carried)
        self._begin_rate(goes_on=True)

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate and begin to watch its losses."""
        self._watch = StepWatch(self.device)
        self._begin_rate()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the step's learning rate, where it changes with every step."""
        if self._rate_by_step:
            self._set_learning_rate(self.progress(batch_idx))

    def progress(self, batch_idx: int) -> float:
        """Return the share of the training that is done before this iteration of the epoch."""
        seconds = 0.0 if self.run.time_budget is None else self.clock.read(self.trainer, batch_idx)
        return self.run.progress(self.current_epoch, batch_idx, seconds)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        with self._own_randomness(batch):
            loss: Tensor = self.loss(self.network(batch["image"]), batch["target"])
        assert self._watch is not None
        value, steps = self._watch.add(loss.detach(), batch["cases"], batch_idx)
        if loss.device.type == "cpu":  # where looking costs nothing
            self.refuse_bad_step()
        self.log("train/loss", value, **{**PER_EPOCH, "batch_size": steps})
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """End the training where its budget of time is used."""
        budget = self.run.time_budget
        if budget is not None and self.clock.read(self.trainer, batch_idx) >= budget:
            self.trainer.should_stop = True

    def on_train_epoch_end(self) -> None:
        """Stop if a loss was not a number."""
        self.refuse_bad_step()

    def on_validation_epoch_start(self) -> None:
        """Count anew; a training that has failed need not be validated."""
        self.refuse_bad_step()
        self.patch_dice.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch; the loss is that of training, with all its resolutions."""
        outputs = self._all_outputs(batch["image"])
        loss = self.loss(outputs, batch["target"])
        self.log("val/loss", loss, **PER_EPOCH)
        self.patch_dice.update(outputs[0] if isinstance(outputs, list) else outputs, batch["target"])

    def on_validation_epoch_end(self) -> None:
        """Log the patch Dice, its mean and its moving average."""
        dice = self.patch_dice.compute()
        mean = mean_dice(dice)
        self.patch_dice_ema = moving_average(self.patch_dice_ema, mean)
        self.log_dict({f"val/patch_dice/{name}": value for name, value in dice.items()})
        self.log("val/patch_dice", mean)
        if self.patch_dice_ema is not None:
            self.log("val/patch_dice_ema", self.patch_dice_ema)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep with the weights what going on needs; `JobError` for weights or losses that are no numbers."""
        self.refuse_bad_step()
        refuse_bad_weights(dict(self.network.named_parameters()))
        assert self._watch is not None
        seconds = self.clock.read(self.trainer)
        checkpoint[EMA_KEY] = self.patch_dice_ema
        checkpoint[LOSSES_KEY] = self._watch.so_far()
        checkpoint[SECONDS_KEY] = seconds
        checkpoint[MAX_EPOCHS_KEY] = self.run.trainer.max_epochs
        checkpoint[ENDED_KEY] = ending(self.trainer, seconds, self.run.time_budget)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from what was saved."""
        self.patch_dice_ema = checkpoint.get(EMA_KEY)
        self._carried = tuple(checkpoint.get(LOSSES_KEY, (0, 0.0)))
        self.clock.seconds = checkpoint.get(SECONDS_KEY, 0.0)

    @contextmanager
    def _own_randomness(self, batch: Batch) -> Iterator[None]:
        """Let what a network draws by itself, as dropout does, follow from the run's seed and the batch alone."""
        seed = sample_generator(self.run.seed, "network", int(batch["epoch"]), batch["indices"][0]).integers(2**63)
        with torch.random.fork_rng([self.device.index] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield

    def _all_outputs(self, image: Tensor) -> Tensor | list[Tensor]:
        """Compute every resolution in evaluation mode: only the network's outermost module is told that it trains."""
        self.network.training = True
        try:
            outputs: Tensor | list[Tensor] = self.network(image)
        finally:
            self.network.training = False
        return outputs

    def _begin_rate(self, goes_on: bool = False) -> None:
        """Set the epoch's learning rate, or see to it that each step has its own.

        An epoch that begins in the warm-up has: by epochs the first one, which may be all there is, would have rate 0.
        Where time is the horizon, an epoch that `goes_on` keeps the rate of its checkpoint.
        """
        schedule, progress = self.run.schedule, self.progress(0)
        self._rate_by_step = schedule.interval == "step" or progress < schedule.warmup
        if not self._rate_by_step and not (goes_on and self.run.time_budget is not None):
            self._set_learning_rate(progress)

    def _set_learning_rate(self, progress: float) -> None:
        rate = self.run.optimizer.lr * learning_rate_factor(self.run.schedule, progress)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def refuse_bad_step(self) -> None:
        """Raise `JobError` if a loss of this epoch was not finite; waits for the device."""
        if self._watch is not None:
            self._watch.refuse_bad(self.current_epoch, self.run.optimizer.lr)


def build_module(run: FoldRun, device: Device) -> SegmentationModule:
    """Build the module of a run with fresh weights drawn from its seed, laid out and compiled as suits the device."""
    configuration, labels = run.configuration, run.plan.labels
    supervised = run.loss.deep_supervision
    network = fresh_network(configuration, run.num_channels, labels.num_heads, supervised, run.network, run.seed)
    # One AVX-512 core, Hippocampus, seconds a step: float32 0.64 so and 0.73 else; bfloat16 0.39 so and 0.35 else.
    if device.accelerator == "cpu" and device.precision == "32-true":
        lay_channels_last(network, configuration)
    if device.accelerator == "cpu":
        keep_shallow_in_float32(network)
    if run.trainer.compile and device.accelerator == "cuda":
        network.compile()
    loss = DeepSupervisionLoss(build_loss(run.loss, labels, configuration.batch_dice))
    module = SegmentationModule(network, loss, build_augmentation(run.resolved_augmentation, configuration), run)
    module.fused = device.accelerator in ("cpu", "cuda") and device.precision in FUSED_PRECISIONS
    return module
