"""VQGAN-CLIP (Crowson et al. 2022): everything is frozen, only the latent moves, until CLIP finds the prompt.

The latent passes through the codebook with a straight-through gradient, and is kept within the range of the
codebook's vectors.
"""

import io
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from guidance.clip import Clip
from guidance.cutouts import cut_out
from guidance.losses import spherical_distance
from networks.vqgan import VQGAN

PATIENCE = 60  # steps without progress after which a picture has converged
PROGRESS = 1e-3  # of the smoothed loss
SMOOTHING = 0.9


@dataclass
class Convergence:
    """Has the smoothed loss stopped falling?"""

    smoothed: float | None = None
    best: float = float("inf")
    stale: int = 0

    def observe(self, loss: float) -> None:
        before = loss if self.smoothed is None else self.smoothed
        self.smoothed = SMOOTHING * before + (1 - SMOOTHING) * loss
        self.stale = 0 if self.smoothed < self.best * (1 - PROGRESS) else self.stale + 1
        self.best = min(self.best, self.smoothed)

    @property
    def reached(self) -> bool:
        return self.stale >= PATIENCE


@dataclass
class LatentOptimiser:
    """One picture on its way: ``latent`` (1, C, h, w) float32, moved by Adam.

    ``random`` is the job's own generator; with the latent, Adam's moments and the step count it is the whole
    state, which ``dump`` and ``restore`` carry from one executor to another. The
    memory format is fixed: networks compute other last digits in another one.
    """

    vqgan: VQGAN
    clip: Clip
    text: Tensor
    latent: Tensor
    random: torch.Generator
    cutouts: int
    learning_rate: float
    step: int = 0
    convergence: Convergence = field(default_factory=Convergence)

    def __post_init__(self) -> None:
        latent = self.latent.detach().clone(memory_format=torch.channels_last)
        self.latent = latent.requires_grad_(True)
        self.adam = torch.optim.Adam([self.latent], lr=self.learning_rate, betas=(0.9, 0.99))
        self.low, self.high = (
            bound(dim=0).values.view(1, -1, 1, 1)
            for bound in (self.vqgan.codebook.min, self.vqgan.codebook.max)
        )

    def picture(self) -> Tensor:
        """The picture that the latent stands for, (1, 3, H, W) in [0, 1], differentiable."""
        codes, _ = self.vqgan.quantize(self.latent)
        straight_through = self.latent + (codes - self.latent).detach()
        drawn = self.vqgan.decode(straight_through.to(self.clip.dtype)).float()
        return clamp_with_gradient(drawn / 2 + 0.5, 0, 1)

    def advance(self, picture: Tensor) -> float:
        """Move the latent one step so that ``picture``, just drawn from it, fits the text better."""
        views = cut_out(picture, self.cutouts, self.clip.view, self.random)
        loss = spherical_distance(self.clip.encode_images(views), self.text).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        with torch.no_grad():
            self.latent.copy_(self.latent.clamp(self.low, self.high))
        self.step += 1
        self.convergence.observe(loss.item())
        return loss.item()

    def dump(self) -> bytes:
        state = {
            "latent": self.latent.detach().cpu(),
            "adam": self.adam.state_dict(),
            "random": self.random.get_state(),
            "step": self.step,
            "convergence": vars(self.convergence),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def restore(self, dumped: bytes) -> None:
        state = torch.load(io.BytesIO(dumped), weights_only=True, map_location=self.latent.device)
        with torch.no_grad():
            self.latent.copy_(state["latent"])
        self.adam.load_state_dict(state["adam"])
        self.random.set_state(state["random"].cpu())
        self.step = state["step"]
        self.convergence = Convergence(**state["convergence"])


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
