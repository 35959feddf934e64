"""Weight gradients of 3D convolutions on feature maps of two slices, in bfloat16 on the processor."""

import pytest
import torch
from torch import nn

from segfw.core.errors import UsageError
from segfw.nn.bfloat16 import keep_shallow_in_float32


def gradient(network: nn.Module, image: torch.Tensor, autocast: bool) -> torch.Tensor:
    network.zero_grad()
    spoilt = [torch.full((2**n,), 1e35) for n in range(4, 20)]  # what memory holds that is handed out next
    del spoilt
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = network(image)
    output.float().square().mean().backward()
    weight = next(network.parameters())
    assert weight.grad is not None
    return weight.grad.clone()


@pytest.mark.parametrize("size", [(2, 2, 2), (2, 4, 4), (3, 4, 4)])
def test_the_gradient_is_that_of_float32_but_for_rounding(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(64, 64, 3, padding=1))
    keep_shallow_in_float32(network)
    image = torch.randn(2, 64, *size)
    wanted = gradient(network, image, autocast=False)
    for _ in range(3):
        found = gradient(network, image, autocast=True)
        assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_other_maps_stay_in_bfloat16_and_autocast_goes_on_after_a_failure() -> None:
    network = nn.Conv3d(4, 4, 3, padding=1)
    keep_shallow_in_float32(network)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.ones(1, 4, 2, 4, 4)).dtype == torch.float32
        with pytest.raises(RuntimeError):
            network(torch.ones(1, 5, 2, 4, 4))
        assert network(torch.ones(1, 4, 4, 4, 4)).dtype == torch.bfloat16


def test_weights_in_bfloat16_are_refused_where_their_gradient_would_be_wrong() -> None:
    network = nn.Conv3d(4, 4, 3, padding=1).to(torch.bfloat16)
    keep_shallow_in_float32(network)
    assert network(torch.ones(1, 4, 3, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with pytest.raises(UsageError, match="bf16-true does not go with"):
        network(torch.ones(1, 4, 2, 4, 4, dtype=torch.bfloat16))
