import os
from pathlib import Path

import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.training import checkpoints
from segfw.training.checkpoints import (
    AtomicCheckpointIO,
    Checkpoints,
    can_go_on,
    checkpoint_to_go_on_from,
    load_checkpoint,
    network_weights,
)


class Unwelcome:
    """Not a tensor, not a plain container."""


TRAINING = {"state_dict": {}, "optimizer_states": [], "callbacks": {}, "loops": {}, "epoch": 0, "global_step": 0}


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


def save(folder: Path, number: int) -> None:
    AtomicCheckpointIO().save_checkpoint(
        TRAINING | {"number": number, "filler": torch.ones(1000)}, folder / "last.ckpt"
    )


def no_hard_links(*_: object) -> None:
    raise OSError("not supported")


@pytest.mark.parametrize("links", [True, False])
def test_two_generations_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(checkpoints.os, "link", no_hard_links)
    for number in (1, 2, 3):
        save(tmp_path, number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert [load_checkpoint(tmp_path / name)["number"] for name in ("last.ckpt", "previous.ckpt")] == [3, 2]


def test_a_failed_write_leaves_both_generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    save(tmp_path, 1)
    save(tmp_path, 2)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 3)
    assert [load_checkpoint(tmp_path / name)["number"] for name in ("last.ckpt", "previous.ckpt")] == [2, 1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_last_gives_way_to_the_previous(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    last = tmp_path / "last.ckpt"
    content = last.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    last.unlink()
    if damage != "missing":
        last.write_bytes(content[:middle] if damage == "cut" else flipped)
    assert can_go_on(tmp_path)
    found = checkpoint_to_go_on_from(tmp_path)
    assert found is not None
    assert found["number"] == 1
    assert "last.ckpt" in caplog.text
    assert "goes on from the one before it, previous.ckpt" in caplog.text
    assert load_checkpoint(last)["number"] == 1
    assert not (tmp_path / "previous.ckpt").exists()


def test_where_none_can_be_read_the_last_is_named(tmp_path: Path) -> None:
    assert not can_go_on(tmp_path)
    assert checkpoint_to_go_on_from(tmp_path) is None
    save(tmp_path, 1)
    (tmp_path / "last.ckpt").write_bytes(b"damaged")
    with pytest.raises(ArtefactError, match=r"last\.ckpt cannot be read"):
        checkpoint_to_go_on_from(tmp_path)
    (tmp_path / "previous.ckpt").write_bytes(b"damaged")
    with pytest.raises(ArtefactError, match=r"last\.ckpt cannot be read"):
        checkpoint_to_go_on_from(tmp_path)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".tmp-0123abcd-last.ckpt").write_bytes(b"half")
    checkpoint_to_go_on_from(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_save_that_was_cut_between_its_two_names_leaves_nothing(tmp_path: Path) -> None:
    """Killed after `previous` was made another name of `last`, and before the new `last` came."""
    save = AtomicCheckpointIO().save_checkpoint
    save({"epoch": 0}, tmp_path / "last.ckpt")
    os.link(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    save({"epoch": 1}, tmp_path / "last.ckpt")
    assert {path.name: load_checkpoint(path)["epoch"] for path in tmp_path.iterdir()} == {
        "last.ckpt": 1,
        "previous.ckpt": 0,
    }
