"""What Lightning trains: a network, a loss, an optimizer, and what is logged of them.

Nothing in a step waits for the device: losses are averaged, voxels counted and failures noted there, and read once an
epoch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from segfw.core.errors import JobError, UsageError
from segfw.core.training_settings import OptimizerSettings
from segfw.data.augmentation import Augmentation, augment, build_augmentation, encode_target
from segfw.data.randomness import sample_generator
from segfw.nn.build import fresh_network
from segfw.nn.losses import DeepSupervisionLoss, build_loss
from segfw.nn.schedules import learning_rate_factor
from segfw.training.devices import Device
from segfw.training.patch_dice import PatchDice, mean_dice, moving_average
from segfw.training.run import FoldRun

Batch = dict[str, Any]
EMA_KEY = "patch_dice_ema"


def build_optimizer(settings: OptimizerSettings, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer over all parameters, biases and norms included; `UsageError` for an unknown name."""
    if settings.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay,
        )
    if settings.name == "adamw":
        return torch.optim.AdamW(parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay)
    raise UsageError(f"optimizer.name must be one of ['sgd', 'adamw'], got {settings.name!r}")


class SegmentationModule(LightningModule):
    """Train `network` with `loss` as `run` says; `loss(outputs, target)` takes what the network returns."""

    def __init__(self, network: nn.Module, loss: nn.Module, augmentation: Augmentation, run: FoldRun) -> None:
        super().__init__()
        self.network, self.loss, self.augmentation = network, loss, augmentation
        self.run, self.labels = run, run.plan.labels
        self.patch_dice = PatchDice(self.labels)
        self.patch_dice_ema: float | None = None
        self._cases_of_step: list[list[str]] = []
        self._first_bad_step: Tensor | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer; its learning rate is set by the hooks below, from the progress alone."""
        return build_optimizer(self.run.optimizer, list(self.network.parameters()))

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Keep the samples' numbers on the host, where the random numbers come from."""
        return {**batch, "indices": batch["indices"].tolist()}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches unless their workers did, then turn label maps into the loss's targets."""
        image, label = batch["image"], batch["label"]
        if self.trainer.training and self.run.augmentation.device == "auto":
            image, label = augment(self.augmentation, image, label, self.run.seed, batch["epoch"], batch["indices"])
        return {**batch, "image": image, "target": encode_target(label, self.labels)}

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate and begin to watch its losses."""
        self._cases_of_step = []
        self._first_bad_step = torch.full((), -1, device=self.device)
        if self.run.schedule.interval == "epoch":
            self._set_learning_rate(self.current_epoch / self.run.trainer.max_epochs)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the step's learning rate, where it changes with every step."""
        if self.run.schedule.interval == "step":
            steps = self.run.trainer.limit_train_batches
            self._set_learning_rate((self.current_epoch * steps + batch_idx) / (self.run.trainer.max_epochs * steps))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        with self._own_randomness(batch):
            loss = self.loss(self.network(batch["image"]), batch["target"])
        self._watch(loss.detach(), batch["cases"], batch_idx)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["image"]))
        return loss

    def on_train_epoch_end(self) -> None:
        """Stop if a loss was not a number."""
        self._refuse_bad_step()

    def on_validation_epoch_start(self) -> None:
        """Count anew; a training that has failed need not be validated."""
        self._refuse_bad_step()
        self.patch_dice.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch; the loss is that of training, with all its resolutions."""
        outputs = self._all_outputs(batch["image"])
        loss = self.loss(outputs, batch["target"])
        self.log("val/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["image"]))
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
        """Keep the moving average with the weights."""
        checkpoint[EMA_KEY] = self.patch_dice_ema

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the saved moving average."""
        self.patch_dice_ema = checkpoint.get(EMA_KEY)

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

    def _set_learning_rate(self, progress: float) -> None:
        rate = self.run.optimizer.lr * learning_rate_factor(self.run.schedule, progress)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def _watch(self, loss: Tensor, cases: list[str], step: int) -> None:
        """Note the first step whose loss is not finite; looked at right away only where that costs nothing."""
        assert self._first_bad_step is not None
        self._cases_of_step.append(cases)
        bad = ~torch.isfinite(loss) & (self._first_bad_step < 0)
        self._first_bad_step = torch.where(bad, step, self._first_bad_step)
        if loss.device.type == "cpu":
            self._refuse_bad_step()

    def _refuse_bad_step(self) -> None:
        step = -1 if self._first_bad_step is None else int(self._first_bad_step)
        if step >= 0:
            cases = sorted(set(self._cases_of_step[step]))
            raise JobError(
                f"the loss is not finite in epoch {self.current_epoch}, step {step}; "
                f"its batch came from the cases {cases}. "
                f"Look at their intensities, or lower optimizer.lr ({self.run.optimizer.lr})"
            )


def build_module(run: FoldRun, device: Device) -> SegmentationModule:
    """Build the module of a run with fresh weights drawn from its seed, laid out and compiled as suits the device."""
    configuration, labels = run.configuration, run.plan.labels
    supervised = run.loss.deep_supervision
    network = fresh_network(configuration, run.num_channels, labels.num_heads, supervised, run.network, run.seed)
    if device.accelerator == "cpu":  # measured on two AVX2 cores, Hippocampus: 0.72 s a step instead of 0.77 to 0.86
        layout = torch.channels_last if configuration.is_2d else torch.channels_last_3d
        network.to(memory_format=layout)  # type: ignore[call-overload]
    if run.trainer.compile and device.accelerator == "cuda":
        network.compile()
    loss = DeepSupervisionLoss(build_loss(run.loss, labels, configuration.batch_dice))
    return SegmentationModule(network, loss, build_augmentation(run.resolved_augmentation, configuration), run)
