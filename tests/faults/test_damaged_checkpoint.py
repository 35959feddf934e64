"""Damaged checkpoints: the generation before serves, and it is said; no flipped bit is trained on or packaged."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.core.settings.schema import ExperimentSettings
from segfw.training.checkpoints import AtomicCheckpointIO, checkpoint_to_go_on_from, load_checkpoint
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun
from segfw.training.seals import DIGITS, MARK, is_sealed, is_whole, seal
from tests.faults.tiny_job import run, run_folder

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "its last byte cut": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "other bytes": lambda content: b"no checkpoint" * 1000,
    "a flipped byte": lambda content: flipped(content, len(content) // 2),
}


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def save(folder: Path, number: int) -> None:
    content = {"number": number, "weights": torch.arange(9.0) + number}
    AtomicCheckpointIO().save_checkpoint(content, folder / "last.ckpt")


def test_no_byte_of_a_checkpoint_can_change_unseen(tmp_path: Path) -> None:
    """The seal, too, is broken, or is none any more: then the content is what was written."""
    save(tmp_path, 1)
    last = tmp_path / "last.ckpt"
    written = last.read_bytes()
    assert is_whole(last)
    seen, places = 0, {*range(0, len(written), 7), *range(len(written) - 200, len(written))}
    for place in places:
        last.write_bytes(flipped(written, place))
        assert not is_whole(last), place
        seen += is_sealed(last)
    assert seen == len(places) - len(MARK)
    last.write_bytes(flipped(written, len(written) - DIGITS - 1))
    assert torch.equal(load_checkpoint(last)["weights"], torch.arange(9.0) + 1)


def test_a_checkpoint_of_before_there_were_seals_is_read_by_the_checksums_of_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.arange(9.0)}, path)
    assert torch.equal(load_checkpoint(path)["weights"], torch.arange(9.0))
    content = path.read_bytes()
    path.write_bytes(flipped(content, content.index(torch.arange(9.0).numpy().tobytes()) + 9))
    with pytest.raises(
        ArtefactError, match=r"last\.ckpt cannot be read: the content of '.*data/0' is not what was written .*; remove"
    ):
        load_checkpoint(path)
    path.write_text("no zip file")
    with pytest.raises(ValueError, match="does not end as a zip file without a comment"):
        seal(path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_where_both_are_damaged_both_are_named_with_what_can_be_done(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    told = rf"{tmp_path}/last\.ckpt cannot be read.*, nor can .* {tmp_path}/previous\.ckpt; remove both to begin again"
    with pytest.raises(ArtefactError, match=told):
        checkpoint_to_go_on_from(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_training_goes_on_from_the_checkpoint_before(
    make_run: Callable[..., FoldRun],
    fit: Callable[..., FoldResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
) -> None:
    run = make_run(max_epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", keep_previous(Path.unlink))
        fit(run, tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    longer = replace(run, trainer=replace(run.trainer, max_epochs=3))
    assert fit(longer, tmp_path).epochs == 3
    log = (tmp_path / "train.log").read_text()
    assert re.search(r"last\.ckpt cannot be read.*; training goes on from the one before it, previous\.ckpt", log)
    assert "1 of 3 epochs done" in log


def keep_previous(unlink: Callable[..., None]) -> Callable[..., None]:
    """Leave the older generation, as a training leaves it that is killed between its last epoch and its end."""
    return lambda path, *arguments, **keywords: (
        None if path.name == "previous.ckpt" else unlink(path, *arguments, **keywords)
    )


def test_weights_that_changed_after_the_training_are_not_packaged(trained: ExperimentSettings) -> None:
    output = Path(trained.output_root)
    last = run_folder(output.parent) / "checkpoints" / "last.ckpt"
    written = last.read_bytes()
    last.write_bytes(flipped(written, len(written) // 2))
    with pytest.raises(ArtefactError, match=rf"{last} cannot be read: its content has another checksum"):
        run(trained, ["select"])
    assert not (output / "Tiny/models/main/model.yaml").exists()
    last.write_bytes(written)
    run(trained, ["select"])
    assert (output / "Tiny/models/main/model.yaml").exists()
