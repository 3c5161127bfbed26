"""Guidance (Crowson et al. 2022): everything is frozen, only a latent moves, until CLIP finds the prompt."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from guidance.clip import Clip
from guidance.cutouts import Augmentations, Views, choose_views
from guidance.drawings import Drawing, Tensors
from guidance.losses import Costs, Targets
from guidance.memory import halving, told_as_one_error

PATIENCE = 60  # steps without progress after which a picture has converged
PROGRESS = 1e-3  # of the smoothed loss
SMOOTHING = 0.9
MOMENTS = (0.9, 0.99)
FALL = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""Learning rates by the share of the steps that is done."""


@dataclass(frozen=True)
class Guidance:
    """How a picture is moved; see ``generators.guided_spec`` for what the numbers mean.

    ``chapters`` are the targets that follow each other, ``steps`` those of each of them; a single one may end
    once the loss no longer falls. At most ``chunk`` cutouts are looked at together. By the share
    ``keep_close_decay`` the cost of leaving the original has fallen once all chapters are done.
    """

    chapters: Sequence[Targets]
    steps: int
    learning_rate: float
    schedule: str = "constant"
    optimiser: str = "adam"
    averaging: float = 0.0
    cutouts: int = 16
    chunk: int = 256
    augmentations: Augmentations = field(default_factory=Augmentations)
    costs: Costs = field(default_factory=Costs)
    keep_close_decay: float = 0.0
    until_converged: bool = True


@dataclass
class Convergence:
    """Has the smoothed loss stopped falling?"""

    smoothed: float | None = None
    best: float = float("inf")
    stale: int = 0

    def observe(self, loss: float) -> None:
        before = loss if self.smoothed is None else self.smoothed
        self.smoothed = SMOOTHING * before + (1 - SMOOTHING) * loss
        self.stale = 0 if self._progresses(self.smoothed) else self.stale + 1
        self.best = min(self.best, self.smoothed)

    @property
    def reached(self) -> bool:
        return self.stale >= PATIENCE

    def _progresses(self, loss: float) -> bool:
        return math.isinf(self.best) or loss < self.best - PROGRESS * abs(self.best)


class LatentOptimiser:
    """One picture on its way.

    ``random`` is the job's own generator; with the tensors, their averages, the optimiser's moments, the
    step count and the chunk it is the whole state, which ``state`` and ``restore`` carry from one executor to
    another. The chunk is part of it, for in other chunks the gradient has other last digits.
    """

    def __init__(self, drawing: Drawing, clip: Clip, guidance: Guidance, random: torch.Generator) -> None:
        self.drawing, self.clip, self.guidance, self.random = drawing, clip, guidance, random
        self.tensors = {name: tensor.requires_grad_(True) for name, tensor in drawing.start.items()}
        self.average = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        self.optimiser = _optimiser(guidance, drawing, self.tensors)
        self.step = 0
        self.convergence = Convergence()
        self.chunk = min(guidance.chunk, guidance.cutouts)

    @property
    def targets(self) -> Targets:
        """Those of the chapter that the next step belongs to."""
        chapter = self.step // max(1, self.guidance.steps)
        return self.guidance.chapters[min(chapter, len(self.guidance.chapters) - 1)]

    @property
    def left(self) -> int:
        """How many steps are still to come."""
        if self.convergence.reached:
            return 0
        return self.guidance.steps * len(self.guidance.chapters) - self.step

    def picture(self) -> Tensor:
        """The picture that the tensors stand for, (1, 3, H, W) in [0, 1], differentiable."""
        with told_as_one_error():
            return self.drawing.draw(self.tensors)

    @torch.no_grad()
    def shown(self, picture: Tensor) -> Tensor:
        """What people see when ``picture`` was just drawn: it, or the averaged tensors' picture."""
        return self.drawing.draw(self.average) if self.guidance.averaging else picture.detach()

    @torch.no_grad()
    def score(self, picture: Tensor) -> float:
        """How well the whole of ``picture`` fits the targets of the moment: a cosine."""
        return self.targets.score(self.clip.look(picture)).item()

    def advance(self, picture: Tensor) -> float:
        """Move one step so that ``picture``, just drawn, fits the targets better; returns its loss.

        Raises:
            NotEnoughMemory: not even one cutout at a time fits.
        """
        self._set_rates()
        self.optimiser.zero_grad()
        loss, gradient = self._gradient(picture)
        with told_as_one_error():
            picture.backward(gradient)
        self.optimiser.step()
        with torch.no_grad():
            self.drawing.keep_within(self.tensors)
            for name, tensor in self.tensors.items():
                self.average[name].lerp_(tensor, 1 - self.guidance.averaging)
        self.step += 1
        if self.guidance.until_converged and len(self.guidance.chapters) == 1:
            self.convergence.observe(loss)
        return loss

    @torch.no_grad()
    def replace(self, tensors: Tensors) -> None:
        """Go on from other tensors, of the same shapes."""
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)
            self.average[name].copy_(tensor)

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs, tensors and plain values."""
        return {
            "tensors": {name: tensor.detach().cpu() for name, tensor in self.tensors.items()},
            "average": {name: tensor.cpu() for name, tensor in self.average.items()},
            "optimiser": self.optimiser.state_dict(),
            "random": self.random.get_state(),
            "step": self.step,
            "convergence": vars(self.convergence),
            "chunk": self.chunk,
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        for mine, saved in ((self.tensors, state["tensors"]), (self.average, state["average"])):
            for name, tensor in mine.items():
                tensor.copy_(saved[name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.set_state(state["random"].cpu())
        self.step = state["step"]
        self.convergence = Convergence(**state["convergence"])
        self.chunk = state.get("chunk", self.chunk)  # absent where an older version wrote it

    def _gradient(self, picture: Tensor) -> tuple[float, Tensor]:
        """The loss of ``picture`` and its gradient, in as many chunks as memory asks for."""
        height, width = picture.shape[2:]
        views = choose_views(
            (height, width), self.guidance.cutouts, self.clip.view, self.guidance.augmentations, self.random
        )
        found, self.chunk = halving(self.chunk, partial(self._gradient_in_chunks, picture, views))
        return found

    def _gradient_in_chunks(self, picture: Tensor, views: Views, chunk: int) -> tuple[float, Tensor]:
        leaf = picture.detach().requires_grad_(True)
        total = 0.0
        cost = self.guidance.costs.of(leaf, self._closeness())
        if cost is not None:
            cost.backward()
            total += cost.item()
        for start in range(0, len(views), chunk):
            taken = views.take(leaf, slice(start, start + chunk))
            loss = self.targets.distance(self.clip.encode_images(taken)).sum() / len(views)
            loss.backward()
            total += loss.item()
        assert leaf.grad is not None
        return total, leaf.grad

    def _closeness(self) -> float:
        steps = self.guidance.steps * len(self.guidance.chapters)
        return 1 - self.guidance.keep_close_decay * (self.step / steps)

    def _done(self) -> float:
        """The share of the chapter's steps that is done."""
        return self.step % self.guidance.steps / self.guidance.steps

    def _set_rates(self) -> None:
        falling = FALL[self.guidance.schedule](self._done())
        for group in self.optimiser.param_groups:
            group["lr"] = self.guidance.learning_rate * group["rate"] * falling


def _optimiser(guidance: Guidance, drawing: Drawing, tensors: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    groups = [{"params": [tensor], "rate": drawing.rates[name]} for name, tensor in tensors.items()]
    make: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "adam": lambda: torch.optim.Adam(groups, lr=guidance.learning_rate, betas=MOMENTS),
        "adamw": lambda: torch.optim.AdamW(groups, lr=guidance.learning_rate, betas=MOMENTS),
        "radam": lambda: torch.optim.RAdam(groups, lr=guidance.learning_rate, betas=MOMENTS),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr=guidance.learning_rate, alpha=MOMENTS[1]),
    }
    return make[guidance.optimiser]()
