"""Group normalisation whose backward pass is fast in bfloat16, channels last, on a CPU.

PyTorch's own takes 22 ms for 128 channels of 128 x 128 on one core, many times what the convolutions around
it take; this one takes 3 ms, and a decoder's step with it 0.31 s instead of 0.44 s.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class GroupNorm(nn.GroupNorm):
    """As ``torch.nn.GroupNorm``, to rounding; inputs are (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and channels_last:
            return _Bfloat16.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class _Bfloat16(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels, height, width = x.shape
        y, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels, height * width, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        grouped = (*mean.shape, -1)  # (B, groups, channels of a group)
        scale, mean, rstd = (
            weight.float().view(1, *grouped[1:]),
            mean.float()[..., None],
            rstd.float()[..., None],
        )
        sum_dy = dy.sum((2, 3)).float().view(grouped)
        sum_dy_x = (dy * x).sum((2, 3)).float().view(grouped)
        sum_dy_normed = (sum_dy_x - mean * sum_dy) * rstd

        numbers = x.numel() / mean.numel()  # over which a group's mean and deviation were taken
        spread = (scale * sum_dy_normed).sum(2, keepdim=True) / numbers * rstd
        shift = (scale * sum_dy).sum(2, keepdim=True) / numbers
        by_dy, by_x, constant = (
            factor.expand_as(sum_dy).reshape(*x.shape[:2], 1, 1).to(x.dtype)
            for factor in (rstd * scale, -rstd * spread, rstd * (mean * spread - shift))
        )
        dx = torch.addcmul(constant, x, by_x).addcmul_(dy, by_dy)
        dweight, dbias = (sums.sum(0).flatten().to(weight.dtype) for sums in (sum_dy_normed, sum_dy))
        return dx, dweight, dbias, None, None
