"""Which devices are meant, and a folder shared among several."""

import dataclasses
import logging
import multiprocessing
import types

import pytest
import torch

from segfw.core.errors import DeviceError, UsageError
from segfw.core.settings.schema import InferenceSettings
from segfw.core.settings.verbs import InferenceOverrides
from segfw.inference.bundle import save_bundle
from segfw.stages.prediction import devices as predict_devices
from segfw.stages.prediction.claims import CaseList
from segfw.stages.prediction.devices import Order, Places, choose_places, open_predictor, segment_on_devices
from segfw.stages.prediction.inputs import find_cases
from segfw.stages.prediction.outputs import plan_outputs
from segfw.training.devices import Device
from tests.inference.tiny_model import make_bundle, make_plan
from tests.stages.tiny_cases import save_images, save_model_of, save_tiny_model

CARD = Device("cuda", "card", "16-mixed", 3, "card")


def cases_at(tmp_path, names, mark=()):
    images = find_cases(save_images(tmp_path / "in", names, mark), ("T1", "mask"))
    return plan_outputs(images, tmp_path / "in", tmp_path / "out", InferenceSettings())


def share(order, cases, devices=(0, 1)):
    listed, outcomes = CaseList(cases), []
    segment_on_devices(order, devices, listed, outcomes.append)
    left = sorted(path.name for path in (cases[0].target.parent).glob(".*"))
    return {outcome.name: outcome.failure for outcome in outcomes}, left


def test_a_quick_look_takes_some_folds_of_the_model(tmp_path):
    whole = make_bundle(make_plan())
    save_bundle(tmp_path / "m", dataclasses.replace(whole, members=whole.members[:2]))
    for folds, expected in ((None, [0, "full"]), (0, [0]), (("full",), ["full"]), ([0, "full"], [0, "full"])):
        predictor = open_predictor(tmp_path / "m", "cpu", 1, InferenceOverrides(folds=folds, mirror=False))
        assert [member.fold for member in predictor.bundle.members] == expected
        assert not predictor.settings.mirror
    with pytest.raises(UsageError, match=r"no fold 3; its folds are 3d_fullres: 0, full"):
        open_predictor(tmp_path / "m", "cpu", 1, InferenceOverrides(folds=3))


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(predict_devices, "available_cores", lambda: 7)
    for devices, count, threads in ((1, 1, 7), (2, 2, 3), ((0, 1, 2), 3, 2), ("auto", 1, 7), (9, 9, 1)):
        places = choose_places("cpu", devices)
        assert (places.numbers, places.device.threads) == (tuple(range(count)), threads)
    assert choose_places("cpu", 2, threads=5).device.threads == 5
    assert choose_places("cpu", 2).description == "2 x CPU, 3 threads (as asked)"


def test_graphics_cards_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(predict_devices, "apart", lambda count, function, *arguments: CARD)
    for devices, numbers in ((1, (0,)), (2, (0, 1)), ((2, 0), (2, 0)), ((1,), (1,)), ("auto", (0, 1, 2))):
        assert choose_places("auto", devices) == Places(CARD, numbers)
    for devices in (4, (0, 3)):
        with pytest.raises(DeviceError, match="asks for 4 graphics cards, this process sees 3"):
            choose_places("gpu", devices)


def test_there_is_one_apple_gpu(monkeypatch):
    apple = dataclasses.replace(CARD, accelerator="mps")
    monkeypatch.setattr(predict_devices, "choose_device", lambda accelerator, threads: apple)
    assert choose_places("mps", 1) == Places(apple, (0,))
    with pytest.raises(DeviceError, match="devices=2: there is one Apple GPU"):
        choose_places("mps", 2)


def test_processes_share_the_cases(tmp_path):
    cases = cases_at(tmp_path, "abcde", mark="b")
    cases[3].images[1].write_bytes(b"no image")
    model = save_tiny_model(tmp_path / "model")
    failures, left = share(Order(model, "cpu", 1, InferenceOverrides()), cases)
    assert sorted(failures) == list("abcde")
    assert "d_0001.nii.gz" in failures.pop("d")
    assert set(failures.values()) == {""}
    assert [case.target.exists() for case in cases] == [True, True, True, False, True]
    assert left == []


def test_a_process_that_dies_takes_only_its_cases_with_it(tmp_path):
    names = [f"c{number:02}" for number in range(12)]
    cases = cases_at(tmp_path, names, mark=["c00"])
    model = save_model_of(tmp_path / "model", "tests.nn.own.Deadly")
    failures, left = share(Order(model, "cpu", 1, InferenceOverrides(trust_code=True)), cases)
    assert sorted(failures) == names
    lost = {name: why for name, why in failures.items() if why}
    assert "c00" in lost
    assert len(lost) <= 3
    assert all("was killed by SIGKILL" in why for why in lost.values())
    assert {case.name for case in cases if not case.target.exists()} == set(lost)
    assert left == []


def test_cases_without_a_process_have_failed(tmp_path):
    cases = cases_at(tmp_path, "abcdef", mark="a")
    model = save_model_of(tmp_path / "model", "tests.nn.own.Deadly")
    failures, left = share(Order(model, "cpu", 1, InferenceOverrides(trust_code=True)), cases, devices=(0,))
    assert sorted(failures) == list("abcdef")
    assert "was killed by SIGKILL" in failures["a"]
    assert failures["f"] == "no process was left to begin it"
    assert left == []


def test_what_a_process_logs_is_told_with_its_device(caplog):
    said = []
    logger = logging.Logger("segfw.inference")
    logger.addHandler(predict_devices._Forwarding(said.append))
    logger.warning("%d windows at once do not fit", 4)
    ours, theirs = multiprocessing.Pipe()
    theirs.send(said[0])
    worker = types.SimpleNamespace(connection=ours, order=Order("m", "cpu", 1, InferenceOverrides(), number=3))
    with caplog.at_level(logging.INFO):
        assert predict_devices._answer(worker, None, None, [])
    assert caplog.record_tuples == [("segfw.inference", logging.WARNING, "device 3: 4 windows at once do not fit")]


def test_a_model_that_no_process_can_open_is_the_error(tmp_path, caplog):
    cases = cases_at(tmp_path, "ab")
    order = Order(save_tiny_model(tmp_path / "model"), "cpu", 1, InferenceOverrides(uncertainty=True))
    with caplog.at_level(logging.ERROR), pytest.raises(UsageError, match="this model is one fold of unet"):
        share(order, cases, devices=(0,))
    assert "device 0 cannot be used: inference.uncertainty compares" in caplog.text
