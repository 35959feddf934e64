"""The norm against PyTorch's own: values and gradients, in every layout."""

import pytest
import torch
from torch import Tensor, nn

from segfw.nn.norm import CHANNELS_LAST, InstanceNorm

REFERENCES = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def results(norm: nn.Module, x: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    x = x.detach().requires_grad_()
    y = norm(x)
    weight, bias = norm.weight, norm.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    return y.detach(), *torch.autograd.grad(y, (x, weight, bias), gradient)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("shape", [(2, 5, 6, 7), (2, 5, 4, 6, 7), (1, 3, 1, 2, 1), (3, 1, 4, 4, 4)], ids=str)
def test_is_pytorchs_instance_norm(shape: tuple[int, ...], last: bool) -> None:
    torch.manual_seed(0)
    layout = CHANNELS_LAST[len(shape) - 2] if last else torch.contiguous_format
    x = (40 + 3 * torch.randn(shape)).contiguous(memory_format=layout)
    gradient = torch.randn(shape)  # contiguous: what comes from above may lie otherwise than x
    reference = REFERENCES[len(shape) - 2](shape[1], affine=True)
    nn.init.normal_(reference.weight)
    nn.init.normal_(reference.bias)
    norm = InstanceNorm(shape[1])
    norm.load_state_dict(reference.state_dict(), strict=True)

    for ours, theirs in zip(results(norm, x, gradient), results(reference, x, gradient), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_keeps_the_layout_and_leaves_its_input_alone() -> None:
    x = torch.randn(2, 4, 3, 4, 5).to(memory_format=torch.channels_last_3d)
    before = x.clone()
    y = InstanceNorm(4)(x)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    nn.LeakyReLU(inplace=True)(y).sum().backward()
    torch.testing.assert_close(x, before)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_types_are_pytorchs_affair(kind: torch.dtype) -> None:
    x = torch.randn(2, 3, 4, 5, 6, dtype=kind).to(memory_format=torch.channels_last_3d)
    norm = InstanceNorm(3).to(kind)
    expected = nn.functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(norm(x), expected)
