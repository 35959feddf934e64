"""Losses of two processes against those of one that has the whole batch."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from segfw.core.labels import LabelSet
from segfw.core.settings.training import LossSettings
from segfw.nn.losses import DeepSupervisionLoss, build_loss

LABELS = {"background": 0, "a": 1, "b": 2}
REGIONS = {"background": 0, "whole": (1, 2), "b": 2}
SETS = {
    "labels": LabelSet(LABELS),
    "labels, some ignored": LabelSet({**LABELS, "ignore": 3}),
    "regions": LabelSet(REGIONS, regions_class_order=(1, 2)),
    "regions, some ignored": LabelSet({**REGIONS, "ignore": 3}, regions_class_order=(1, 2)),
}


def batch(labels: LabelSet) -> tuple[list[Tensor], Tensor]:
    """Three samples at two resolutions; the last sample alone has ignored voxels."""
    rng = torch.Generator().manual_seed(3)
    outputs = [torch.randn(3, labels.num_heads, size, size, generator=rng) for size in (8, 4)]
    if labels.has_regions:
        target = torch.rand(3, labels.num_heads + (labels.ignore_value is not None), 8, 8, generator=rng) > 0.6
        if labels.ignore_value is not None:
            target[:2, -1] = False
    else:
        target = torch.randint(0, 3, (3, 1, 8, 8), generator=rng, dtype=torch.int16)
        if labels.ignore_value is not None:
            target[2, 0, 2:] = 3
    return outputs, target


def losses(part: slice) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield loss and gradients of a part of the batch for every kind of labels and of Dice."""
    for labels in SETS.values():
        for batch_dice in (True, False):
            outputs, target = batch(labels)
            leaves = [output[part].requires_grad_() for output in outputs]
            loss = DeepSupervisionLoss(build_loss(LossSettings(), labels, batch_dice))(leaves, target[part])
            loss.backward()
            yield loss.detach(), [leaf.grad for leaf in leaves if leaf.grad is not None]


def one_rank(rank: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(list(losses(slice(0, 2) if rank == 0 else slice(2, 3))), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_have_the_loss_and_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    torch.multiprocessing.spawn(one_rank, (port, str(tmp_path)), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for (whole, gradients), (loss0, part0), (loss1, part1) in zip(losses(slice(0, 3)), *parts, strict=True):
        torch.testing.assert_close((loss0 + loss1) / 2, whole)
        for gradient, first, second in zip(gradients, part0, part1, strict=True):
            torch.testing.assert_close(torch.cat((first, second)) / 2, gradient)  # as DDP averages
