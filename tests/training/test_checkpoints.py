from pathlib import Path

import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.training.checkpoints import AtomicCheckpointIO, Checkpoints, load_checkpoint, network_weights


class Unwelcome:
    """Not a tensor, not a plain container."""


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    content = {"state_dict": {"network.w": torch.ones(2), "other": torch.ones(1)}}
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    assert list(network_weights(tmp_path / "a.ckpt")) == ["w"]


def test_damaged_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(ArtefactError, match="there is no checkpoint"):
        load_checkpoint(path)
    torch.save({"state_dict": {"network.w": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ArtefactError, match=r"a\.ckpt cannot be read"):
        load_checkpoint(path)
    torch.save(Unwelcome(), path)
    with pytest.raises(ArtefactError, match=r"a\.ckpt cannot be read"):
        load_checkpoint(path)


class FakeTrainer:
    """Notes what is saved."""

    def __init__(self) -> None:
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.saved: list[str] = []
        self.should_stop, self.current_epoch, self.max_epochs, self.world_size = False, 0, 10, 1

    def save_checkpoint(self, path: Path) -> None:
        self.saved.append(path.name)


def test_best_follows_the_maximum_and_is_written_before_last(tmp_path: Path) -> None:
    callback, trainer = Checkpoints(tmp_path), FakeTrainer()
    for score in (float("nan"), 0.5, 0.4, 0.6):
        trainer.callback_metrics = {"val/patch_dice_ema": torch.tensor(score)}
        callback.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.saved == ["last.ckpt", "best.ckpt", "last.ckpt", "last.ckpt", "best.ckpt", "last.ckpt"]
    resumed = Checkpoints(tmp_path)
    resumed.load_state_dict(callback.state_dict())
    trainer.saved.clear()
    resumed.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.saved == ["last.ckpt"]
