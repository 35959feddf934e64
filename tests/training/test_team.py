import os
import pickle
from dataclasses import replace

import pytest

from segfw.core.errors import DeviceError, UsageError
from segfw.core.settings.training import TrainerSettings
from segfw.core.support.ranks import Ranks
from segfw.training import team as team_module
from segfw.training.devices import Device
from segfw.training.team import Team, apart, choose_team
from segfw.training.throughput import measure_flops_per_second
from tests.training.conftest import CPU

ON_CPU = TrainerSettings(accelerator="cpu", precision="bf16-mixed")
TWO_NODES = Ranks(1, 4, 1, 2, 0, "x")
CARD = Device("cuda", "A card", "16-mixed", 4, "A card", 25.4)


@pytest.fixture
def four_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr(team_module, "apart", lambda devices, function, *arguments: CARD)


@pytest.mark.parametrize(("devices", "count"), [(1, 1), (2, 2), ("auto", 1), ((0, 1, 2), 3)])
def test_processors_are_shared_out(devices: int | str | tuple[int, ...], count: int, monkeypatch) -> None:
    monkeypatch.setattr(team_module, "available_cores", lambda: 8)
    team = choose_team(replace(ON_CPU, devices=devices))
    assert (team.count, team.device.threads) == (count, 8 // count)
    assert team.description == ("" if count == 1 else f"{count} x ") + team.device.training


@pytest.mark.parametrize(("devices", "count"), [(1, 1), (3, 3), ("auto", 4), ((3, 1), 2)])
def test_cards_are_counted(devices: int | str | tuple[int, ...], count: int, four_cards: None) -> None:
    assert choose_team(TrainerSettings(devices=devices)).count == count


@pytest.mark.parametrize("devices", [5, (0, 4)])
def test_cards_that_are_not_there(devices: int | tuple[int, ...], four_cards: None) -> None:
    with pytest.raises(DeviceError, match="asks for 5 graphics cards, this process sees 4"):
        choose_team(TrainerSettings(devices=devices))


@pytest.mark.parametrize(("devices", "current"), [((2,), [2]), ((2, 3), []), (1, [])])
def test_a_single_card_that_is_named_becomes_the_current_one(devices, current, four_cards: None, monkeypatch) -> None:
    made_current: list[int] = []
    monkeypatch.setattr("torch.cuda.set_device", made_current.append)
    assert choose_team(TrainerSettings(devices=devices)).count == (1 if devices == 1 else len(devices))
    assert made_current == current


def test_nodes_need_a_launcher() -> None:
    with pytest.raises(UsageError, match=r"num_nodes=3 needs a launcher .*srun --nodes=3 --ntasks-per-node=2 "):
        choose_team(replace(ON_CPU, devices=2, num_nodes=3))


def test_a_launcher_must_have_started_what_was_asked_for() -> None:
    assert choose_team(replace(ON_CPU, devices=2, num_nodes=2), TWO_NODES).count == 4
    assert choose_team(replace(ON_CPU, devices="auto", num_nodes=2), TWO_NODES).count == 4
    with pytest.raises(UsageError, match=r"each of 2 nodes, but trainer.devices=1 .*give trainer.devices=2"):
        choose_team(replace(ON_CPU, num_nodes=2), TWO_NODES)


def test_a_batch_has_a_sample_for_each_device() -> None:
    assert Team(CPU, 2).devices_for(3, "2d") == 2
    with pytest.raises(UsageError, match=r"3d_fullres has batches of 2, .* by 4 devices; use at most 2 "):
        Team(CPU, 4).devices_for(2, "3d_fullres")
    assert Team(CPU, 4, fewer=True).devices_for(2, "3d_fullres") == 2


@pytest.mark.slow
def test_a_card_is_asked_in_another_process_if_several_train(monkeypatch: pytest.MonkeyPatch) -> None:
    pickle.dumps(measure_flops_per_second)
    assert apart(2, os.getpid) == os.getpid()  # there is no card here
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert apart(1, os.getpid) == os.getpid()
    assert apart(2, os.getpid) != os.getpid()


def test_devices_compute_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team_module, "_measured", lambda device, devices: 5e9)
    assert Team(CPU, 4).flops_per_second(3) == 15e9
