"""Two nodes of a Ray cluster on this computer, of which one is lost while it works."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from segfw.__main__ import main
from segfw.core.settings.schema import ExecutorSettings
from segfw.core.settings.verbs import PredictSettings
from segfw.stages import ray_cases, ray_cluster
from segfw.stages.prediction import predict, ray_devices
from segfw.stages.prediction.claims import Claimed
from tests.stages.test_executor import comes_true
from tests.stages.tiny_cases import save_images, save_tiny_model
from tests.stages.tiny_dataset import make

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")
SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
DOOMED, CAUGHT, STORE = "doomed", "caught", "Tiny/preprocessed"
NAMES = [f"c{number}" for number in range(6)]


def wait_for_the_end(folder: str, half_written: Callable[[], Path]) -> None:
    """Wait, in a process of the node that will be lost, until it is; in any other, until that one has a case."""
    doomed, caught = Path(folder) / DOOMED, Path(folder) / CAUGHT
    if not doomed.exists():
        return
    if doomed.read_text() != ray.get_runtime_context().get_node_id():
        comes_true(caught.exists, 120)
    else:
        half_written().touch()
        caught.touch()
        comes_true(lambda: not doomed.exists(), 120)
        os.kill(os.getpid(), signal.SIGKILL)  # Ray's workers outlive a killed node by a moment


def work_until_lost(folder: str, *arguments: Any) -> Any:
    wait_for_the_end(folder, lambda: next(Path(folder).glob(f"ray/{STORE}/*")) / ".tmp-01234567-bob.image.npy")
    return ray_cases._work_in(folder, *arguments)


def segment_until_lost(folder: str, order: Any, threads: int, cases: Any) -> Iterator[Any]:
    """Segment as a task does; the node that will be lost is so with a case claimed."""
    take = cases.take

    def taken() -> Any:
        claimed = take()
        if isinstance(claimed, Claimed):
            target = claimed.case.target
            wait_for_the_end(folder, lambda: target.with_name(f".tmp-01234567-{target.name}"))
        return claimed

    cases.take = taken
    yield from ray_devices._segment(folder, order, threads, cases)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of one node, with the place to add others."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, ray_cluster._signals_kept():
        patch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}")
        ray.shutdown()
        cluster = Cluster(initialize_head=True, head_node_args=SMALL)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def losing_one(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return the context in which a second node joins, and is killed with a case half written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray_cases, "_work_in", work_until_lost)
    monkeypatch.setattr(ray_devices, "_segment", segment_until_lost)

    @contextmanager
    def context() -> Iterator[ExecutorSettings]:
        node = nodes.add_node(**SMALL)
        settings = ExecutorSettings(name="ray", address=nodes.address)
        assert comes_true(lambda: ray_cluster.num_nodes(ray_cluster.connected(settings)) == 2)
        (tmp_path / DOOMED).write_text(node.node_id)
        lost: list[bool] = []

        def lose() -> None:
            lost.append(comes_true((tmp_path / CAUGHT).exists, 120))
            nodes.remove_node(node, allow_graceful=False)
            (tmp_path / DOOMED).unlink()

        killer = threading.Thread(target=lose)
        killer.start()
        yield settings
        killer.join()
        assert lost == [True]

    return context


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_preprocessing_loses_a_node_and_no_case(
    losing_one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 2000)
    make(tmp_path / "data" / "Tiny")
    words = [
        "task.name=Tiny",
        f"task.folder={tmp_path / 'data/Tiny'}",
        "split.num_folds=3",
        "configurations=[3d_fullres]",
    ]

    def run(output: str, stages: str, *more: str) -> str:
        assert main([*words, f"output_root={tmp_path / output}", f"stages=[{stages}]", *more]) == 0
        return capfd.readouterr().out

    run("local", "fingerprint,plan", "executor.workers=0")
    shutil.copytree(tmp_path / "local", tmp_path / "ray")
    run("local", "preprocess", "executor.workers=0")
    with losing_one() as executor:
        on_ray = ("executor=ray", f"executor.address={executor.address}")
        said = run("ray", "preprocess", *on_ray)
    assert "executor: Ray, 2 nodes, 2 cores" in said
    assert "3 cases, 3 made now" in said
    ours, theirs = files(tmp_path / "ray" / STORE), files(tmp_path / "local" / STORE)
    assert ours == theirs
    assert "nothing to do" in run("ray", "preprocess", *on_ray)
    for path in (tmp_path / "ray" / STORE).rglob("bob*"):
        path.unlink()
    assert "3 cases, 1 made now" in run("ray", "preprocess", *on_ray)
    assert files(tmp_path / "ray" / STORE) == theirs


def test_a_folder_of_images_loses_a_node_and_no_case(
    losing_one: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save_tiny_model(tmp_path / "model")
    save_images(tmp_path / "in", NAMES)
    caplog.set_level(logging.INFO)

    def run(output: str, **changes: Any) -> str:
        places = {"model": str(model), "input": str(tmp_path / "in"), "output": str(tmp_path / output)}
        predict.run(PredictSettings(**places, accelerator="cpu", threads=1, **changes))
        return caplog.messages[-1]

    run("local")
    with losing_one() as executor:
        said = run("ray", devices="auto", executor=executor)
    assert "on 2 x 1 core of a Ray cluster" in caplog.text
    assert said.startswith("predict: 6 done, 0 skipped, 0 failed")
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    (tmp_path / "ray" / "c3.nii.gz").unlink()
    assert run("ray", devices="auto", executor=executor).startswith("predict: 1 done, 5 skipped, 0 failed")
    assert files(tmp_path / "ray") == files(tmp_path / "local")
