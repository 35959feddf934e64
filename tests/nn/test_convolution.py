"""Convolutions of one sample against PyTorch's own."""

import pytest
import torch
from torch import nn

from segfw.nn import convolution

KINDS = {2: (convolution.Conv2d, nn.Conv2d), 3: (convolution.Conv3d, nn.Conv3d)}


@pytest.fixture
def calls(monkeypatch):
    """Shapes that went through oneDNN."""
    seen, plain = [], torch.mkldnn_convolution

    def spy(x, *arguments):
        seen.append(tuple(x.shape))
        return plain(x, *arguments)

    monkeypatch.setattr(torch, "mkldnn_convolution", spy)
    return seen


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_one_sample_without_gradients_goes_through_onednn_with_pytorchs_values(ndim, last, bias, calls):
    torch.manual_seed(0)
    ours, theirs = (kind(3, 6, 3, 2, 1, bias=bias) for kind in KINDS[ndim])
    ours.load_state_dict(theirs.state_dict(), strict=True)
    if last:
        ours.to(memory_format={2: torch.channels_last, 3: torch.channels_last_3d}[ndim])
    x = torch.randn(1, 3, *(5, 6, 7)[:ndim])
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    assert calls == [tuple(x.shape)]


@pytest.mark.parametrize(
    ("count", "kind", "gradients"),
    [(2, torch.float32, False), (1, torch.float64, False), (1, torch.float32, True)],
    ids=["two samples", "double precision", "gradients"],
)
def test_all_else_is_pytorchs_affair(count, kind, gradients, calls):
    torch.manual_seed(0)
    module, x = convolution.Conv3d(2, 3, 3).to(kind), torch.randn(count, 2, 4, 5, 6, dtype=kind)
    with torch.set_grad_enabled(gradients):
        y = module(x)
    assert torch.equal(y, nn.functional.conv3d(x, module.weight, module.bias))
    assert not calls
    if gradients:
        assert torch.isfinite(torch.autograd.grad(y.sum(), module.weight)[0]).all()
