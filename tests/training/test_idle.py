import pytest
from torch import Tensor, nn

from segfw.core.settings.schema import NetworkSettings
from segfw.nn.build import fresh_network
from segfw.training.idle import freeze_idle_parameters, idle_parameters
from tests.training.conftest import make_plan

IMAGE = (2, 1, 8, 8, 8)


@pytest.mark.parametrize(
    ("name", "supervised", "idle"),
    [
        ("planned", True, ["decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"]),
        ("unet_plus_plus", True, []),
        ("unet_plus_plus", False, ["seg_layers.0.weight", "seg_layers.0.bias"]),
    ],
)
def test_heads_that_nothing_supervises_are_idle(name: str, supervised: bool, idle: list[str]) -> None:
    network = fresh_network(make_plan().configurations["3d_fullres"], 1, 3, supervised, NetworkSettings(name), 0)
    assert idle_parameters(network, IMAGE) == idle
    freeze_idle_parameters(network, IMAGE)
    assert [key for key, parameter in network.named_parameters() if not parameter.requires_grad] == idle
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())


class Peeking(nn.Module):
    """A network that looks at its values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        scale = image.mean().item()
        outputs: Tensor = self.layer(image * scale)
        return outputs


def test_a_network_that_must_compute_is_left_as_it_is() -> None:
    network = Peeking()
    freeze_idle_parameters(network, IMAGE)
    assert all(parameter.requires_grad for parameter in network.parameters())
