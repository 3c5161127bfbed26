import pytest
import torch
from torch import nn

from networks.group_norm import GroupNorm


@pytest.mark.parametrize("weight_dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 64, 24, 16), (3, 96, 5, 7)])
def test_bfloat16_gradients_agree_with_float64(shape: tuple[int, ...], weight_dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours = GroupNorm(32, shape[1], eps=1e-6).to(weight_dtype)
    nn.init.normal_(ours.weight)
    exact = nn.GroupNorm(32, shape[1], eps=1e-6).double()
    exact.load_state_dict(ours.state_dict())
    x = (2 * torch.randn(shape) + 1).bfloat16().contiguous(memory_format=torch.channels_last)
    dy = torch.randn(shape).bfloat16()

    gradients, wanted = (
        torch.autograd.grad(norm(leaf), [leaf, *norm.parameters()], dy.to(leaf.dtype))
        for norm, leaf in ((ours, x.clone().requires_grad_()), (exact, x.double().requires_grad_()))
    )

    assert gradients[0].is_contiguous(memory_format=torch.channels_last)
    for gradient, exact_gradient in zip(gradients, wanted, strict=True):
        error = (gradient.double() - exact_gradient).norm() / exact_gradient.norm()
        assert error < 0.01


def test_takes_its_own_way_in_bfloat16_alone() -> None:
    norm = GroupNorm(32, 64)
    x = torch.randn(1, 64, 4, 4).contiguous(memory_format=torch.channels_last)
    assert "_Bfloat16" in type(norm(x.bfloat16()).grad_fn).__name__
    assert torch.equal(norm(x), nn.functional.group_norm(x, 32, norm.weight, norm.bias))
