"""A store whose files were cut, emptied, removed or changed: it is not trained on, and what is damaged made again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from segfw.core.errors import ArtefactError
from segfw.core.settings.schema import ExperimentSettings
from segfw.data.store import Store
from tests.faults.tiny_job import run, run_longer

DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "image cut": ("bob.image.npy", lambda path: path.write_bytes(path.read_bytes()[:-100]), "bytes instead of"),
    "label emptied": ("bob.label.npy", lambda path: path.write_bytes(b""), "has 0 bytes instead of"),
    "locations gone": ("bob.locations.npy", lambda path: path.unlink(), "is missing"),
    "record gone": ("bob.record.json", lambda path: path.unlink(), "not there yet"),
    "record cut": ("bob.record.json", lambda path: path.write_bytes(path.read_bytes()[:40]), "cannot read"),
    "zeros of the same size": ("bob.image.npy", lambda path: path.write_bytes(bytes(path.stat().st_size)), "SHA-256"),
    "manifest gone": ("manifest.json", lambda path: path.unlink(), "is not complete"),
    "manifest cut": ("manifest.json", lambda path: path.write_bytes(path.read_bytes()[:-1]), "cannot read"),
}


@pytest.mark.parametrize(("file", "damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_refused_and_what_is_damaged_made_again(
    trained: ExperimentSettings, file: str, damage: Callable[[Path], object], told: str
) -> None:
    (store,) = (Path(trained.output_root) / "Tiny" / "preprocessed").iterdir()
    before = {path.name: path.read_bytes() for path in store.glob("*.npy")}
    others = {path.name: path.stat().st_mtime_ns for path in store.glob("[ac]*.npy")}
    damage(store / file)
    with pytest.raises(ArtefactError, match=f"{told}.*preprocess") as refused:
        run_longer(trained)
    assert str(store) in str(refused.value)
    assert file.split(".")[0] in str(refused.value)
    run(trained, ["preprocess"])
    assert {path.name: path.read_bytes() for path in store.glob("*.npy")} == before
    assert {path.name: path.stat().st_mtime_ns for path in store.glob("[ac]*.npy")} == others
    Store.open(store).check()
