"""Tells the trackers of a training: each epoch's row, now and then what the network sees, and at last its scores."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from segfw.core.labels import LabelSet
from segfw.core.scoring.metrics import Summary, case_dice
from segfw.core.types import FloatArray, IntArray
from segfw.data.drawing import make_patch_spec
from segfw.data.sampling import PatchDataset, collate
from segfw.tracking.fan_out import FanOut
from segfw.tracking.panels import Masks, fullest_slice, legend, overlay, save_picture, side_by_side
from segfw.tracking.trackers import Cell, Picture
from segfw.training.callbacks.curves_log import CurvesLog
from segfw.training.callbacks.fold_validation import FoldValidation
from segfw.training.cascade import open_store
from segfw.training.module import SegmentationModule
from segfw.training.run import ENDING, VALIDATION, FoldRun
from segfw.training.validation import FoldIO

PATCHES = 3
"""Validation patches of a picture, at most: the first that the on-line validation of epoch 0 draws, always the same."""
PANEL, CASES = "val/patches", "val/cases"
THUMBNAILS = "thumbnails"


class TrackersLog(Callback):
    """Tell `trackers` what `run` does in `folder`; of several ranks the first alone is given one.

    It stands behind the callbacks that it asks: `CurvesLog`, whose rows are the metrics, and `FoldValidation`.
    """

    def __init__(self, run: FoldRun, folder: Path, io: FoldIO, trackers: FanOut, pictures_every: int) -> None:
        self.run, self.folder, self.io, self.trackers, self.every = run, folder, io, trackers, pictures_every
        self._next_picture = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the next picture where it would be without an interruption."""
        done = trainer.current_epoch
        self._next_picture = -(-(done + 1) // self.every) * self.every - 1

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what the network makes of the same patches, with the weights that are validated."""
        if trainer.current_epoch < self._next_picture or not self.trackers.shows("images"):
            return
        self._next_picture += self.every
        assert isinstance(pl_module, SegmentationModule)
        names = [name for name, _ in self.run.plan.labels.foreground]
        self.trackers.picture(PANEL, draw_patches(self.run, pl_module), legend(names), trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the row that metrics.csv has got."""
        row = _callback(trainer, CurvesLog).rows[-1]
        self.trackers.scalars({key: value for key, value in row.items() if key != "epoch"}, int(row["epoch"]))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the scores of whole cases, and show each case."""
        summary = _callback(trainer, FoldValidation).summary
        if summary is None:
            return
        last = max(0, trainer.current_epoch - 1)
        self.trackers.scalars(scores_of(summary), last)
        if self.trackers.shows("tables"):
            self.trackers.table(CASES, *case_table(summary, self._thumbnails(summary)))

    def _thumbnails(self, summary: Summary) -> dict[str, Path]:
        """Draw the worst and the best case."""
        if self.io.read_case is None or not self.trackers.shows("images"):
            return {}
        ranked = sorted((case_dice(case), case.case) for case in summary.cases if not math.isnan(case_dice(case)))
        drawn = {}
        for case in dict.fromkeys(name for _, name in (ranked[:1] + ranked[-1:])):
            path = self.folder / VALIDATION / THUMBNAILS / f"{case}.png"
            image, true, predicted = self.io.read_case(case, self.folder / VALIDATION / f"{case}{ENDING}")
            save_picture(draw_case(image, true, predicted, self.run.plan.labels), path)
            drawn[case] = path
        return drawn


def scores_of(summary: Summary) -> dict[str, float]:
    """Return the mean Dice of whole cases, and that of each label or region."""
    labels = {f"val/dice/{name}": mean["dice"] for name, mean in summary.mean.items()}
    return {"val/dice": summary.foreground_mean["dice"], **labels}


def case_table(summary: Summary, thumbnails: dict[str, Path]) -> tuple[list[str], list[list[Cell]]]:
    """Return (columns, rows): each case by name with its mean Dice, every metric of every label, and its thumbnail."""
    rows: list[dict[str, Cell]] = []
    for case in summary.cases:
        row: dict[str, Cell] = {"case": case.case, "dice": _cell(case_dice(case))}
        for label, counts in case.labels.items():
            measures = case.measures.get(label)
            known = {"dice": counts.dice, "iou": counts.iou, **({} if measures is None else asdict(measures))}
            row |= {f"{metric}/{label}": _cell(value) for metric, value in known.items() if metric != "tolerance_mm"}
        rows.append(row | {"picture": thumbnails.get(case.case)})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[row.get(column) for column in columns] for row in rows]


def draw_case(image: FloatArray, true: IntArray, predicted: IntArray, labels: LabelSet) -> Picture:
    """Draw the slice along axis 0 of a case `(Z, Y, X)` that shows most of what is to be found."""
    masks = [{name: labels.mask(of, key) for name, key in labels.foreground} for of in (true, predicted)]
    anything = np.logical_or.reduce([*masks[0].values()])
    if not anything.any():
        anything = np.logical_or.reduce([*masks[1].values()])
    at = fullest_slice(anything)
    return overlay(image[at], *(_sliced(of, at) for of in masks))


@torch.no_grad()
def draw_patches(run: FoldRun, module: SegmentationModule) -> Picture:
    """Draw a few patches of one validation batch with what `module`, in evaluation mode, predicts there."""
    spec = make_patch_spec(run.configuration, run.sampling, None)
    patches = PatchDataset(open_store(run), run.val_cases, spec, run.plan.labels, run.seed, "validation")
    batch: Any = collate(patches.__getitems__([(0, index) for index in range(spec.batch_size)]))
    moved = {key: value.to(module.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    ready = module.on_after_batch_transfer(module.on_before_batch_transfer(moved, 0), 0)
    with module.trainer.precision_plugin.forward_context():
        outputs = module.network(ready["image"])
    heads = (outputs[0] if isinstance(outputs, list) else outputs).float().cpu().numpy()
    images, labels, known = batch["image"].numpy(), batch["label"].numpy(), run.plan.labels
    return side_by_side(
        [_draw_patch(images[i, 0], labels[i, 0], heads[i], known) for i in range(len(images))[:PATCHES]]
    )


def _draw_patch(image: FloatArray, label: IntArray, logits: FloatArray, labels: LabelSet) -> Picture:
    """Draw a patch `(*F)`, of one of three axes the slice along the first that shows most; `logits` `(heads, *F)`."""
    true = {name: labels.mask(label, key) for name, key in labels.foreground}
    if labels.has_regions:
        predicted = {name: head > 0 for (name, _), head in zip(labels.foreground, logits, strict=True)}
    else:
        decoded = labels.decode(logits)
        predicted = {name: labels.mask(decoded, key) for name, key in labels.foreground}
    if image.ndim == 2:
        return overlay(image, true, predicted)
    at = fullest_slice(np.logical_or.reduce([*true.values()]))
    return overlay(image[at], _sliced(true, at), _sliced(predicted, at))


def _sliced(masks: Masks, at: int) -> Masks:
    return {name: mask[at] for name, mask in masks.items()}


def _callback(trainer: Trainer, kind: type[Any]) -> Any:
    callbacks: Sequence[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next(callback for callback in callbacks if isinstance(callback, kind))


def _cell(value: float | int) -> float | int | None:
    return None if isinstance(value, float) and math.isnan(value) else value
