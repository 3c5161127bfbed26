"""What guidance moves: tensors that a generator's network makes a picture of."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from networks.biggan import BigGAN
from networks.vqgan import VQGAN

Tensors = Mapping[str, Tensor]


class Drawing(Protocol):
    """``start`` are the tensors to begin with, float32; ``rates`` how fast each moves.

    ``draw`` makes a picture (1, 3, H, W) in [0, 1] of such tensors, differentiable; ``keep_within`` changes
    them in place to the nearest that the network knows.
    """

    @property
    def start(self) -> Tensors: ...
    @property
    def rates(self) -> Mapping[str, float]: ...
    def draw(self, tensors: Tensors) -> Tensor: ...
    def keep_within(self, tensors: Tensors) -> None: ...


@dataclass(frozen=True)
class Mask:
    """Where a picture may change: ``shown`` is (1, 1, H, W) in [0, 1], ``original`` (1, 3, H, W)."""

    shown: Tensor
    original: Tensor

    def keep(self, picture: Tensor) -> Tensor:
        """``picture`` where it may change, the original elsewhere."""
        return self.original.lerp(picture, self.shown)


@dataclass(frozen=True)
class VqganDrawing:
    """A latent (1, C, h, w) in place of the code vectors; its gradient passes the codebook straight through.

    The latent is kept within the range of the codebook's vectors. Its memory format is fixed, for networks
    compute other last digits in another one.
    """

    vqgan: VQGAN
    latent: Tensor
    dtype: torch.dtype
    mask: Mask | None = None

    @property
    def start(self) -> Tensors:
        return {"latent": self.latent.detach().float().clone(memory_format=torch.channels_last)}

    @property
    def rates(self) -> Mapping[str, float]:
        return {"latent": 1.0}

    def draw(self, tensors: Tensors) -> Tensor:
        latent = tensors["latent"]
        codes = self.vqgan.nearest(latent)
        straight_through = latent + (codes - latent).detach()
        picture = as_picture(self.vqgan.decode(straight_through.to(self.dtype)))
        return self.mask.keep(picture) if self.mask else picture

    def keep_within(self, tensors: Tensors) -> None:
        tensors["latent"].copy_(tensors["latent"].clamp(*self._bounds))

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Least and greatest value of the codebook's vectors, (1, C, 1, 1) each."""
        codebook = self.vqgan.codebook
        return codebook.amin(0).view(1, -1, 1, 1), codebook.amax(0).view(1, -1, 1, 1)


@dataclass(frozen=True)
class BigGANDrawing:
    """Noise (1, L, z_dim) and a mixture of some classes for each of L layers, or with L = 1 for all.

    ``kinds`` (k,) are the classes that may be mixed, ``shares`` (1, L, k) the logits of the mixture (Murdock,
    "Big Sleep", 2021, keeps the k largest of all classes instead). The noise stays within ``bound``.
    """

    biggan: BigGAN
    noise: Tensor
    kinds: Tensor
    shares: Tensor
    truncation: float
    bound: float
    class_rate: float
    dtype: torch.dtype

    @property
    def start(self) -> Tensors:
        return {"noise": self.noise.detach().float().clone(), "shares": self.shares.detach().float().clone()}

    @property
    def rates(self) -> Mapping[str, float]:
        return {"noise": 1.0, "shares": self.class_rate}

    def draw(self, tensors: Tensors) -> Tensor:
        known = F.one_hot(self.kinds, self.biggan.config.num_classes).to(tensors["shares"])
        mixture = tensors["shares"].softmax(-1) @ known
        return draw_biggan(self.biggan, tensors["noise"], mixture, self.truncation, self.dtype)

    def keep_within(self, tensors: Tensors) -> None:
        tensors["noise"].clamp_(-self.bound, self.bound)


def draw_biggan(
    biggan: BigGAN, noise: Tensor, classes: Tensor, truncation: float, dtype: torch.dtype
) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1]; see ``BigGAN.forward``."""
    return as_picture(biggan(noise.to(dtype), classes.to(dtype), truncation))


def as_picture(drawn: Tensor) -> Tensor:
    """What a network draws, in about [-1, 1], as a picture in [0, 1], float32, differentiable."""
    return clamp_with_gradient(drawn.float() / 2 + 0.5, 0, 1)


def clamp_with_gradient(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp; the gradient passes where it leads back into the range, not only within it."""
    return ClampWithGradient.apply(x, low, high)


class ClampWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        outside = x - x.clamp(ctx.low, ctx.high)
        return gradient * (gradient * outside >= 0), None, None
