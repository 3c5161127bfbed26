"""The training loop that every recipe shares: budget, progress, checkpoints, samples."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

CHECKPOINT_SECONDS = 120.0
SAMPLE_SECONDS = 300.0
LOG_EVERY = 20


LAST_RATE = 0.02  # of the peak
LONGEST_GRADIENT = 1.0


@dataclass
class Learner:
    """A network with what trains it: all that a run goes on from.

    AdamW with a warm-up and a falling rate; ``average`` is the network's exponential average where
    ``averaging`` (its decay) is not 0; ``random`` the recipe's only source of random numbers;
    ``extra`` further tensors, changed in place.
    """

    network: nn.Module
    random: torch.Generator
    peak_rate: float
    warm_up: int
    weight_decay: float
    averaging: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            trained, lr=self.peak_rate, betas=self.betas, weight_decay=self.weight_decay, fused=True
        )
        update = get_ema_multi_avg_fn(self.averaging)
        self.average = AveragedModel(self.network, multi_avg_fn=update) if self.averaging else None

    def update(self, loss: Tensor, step: int, progress: float) -> None:
        """One step down the gradient of ``loss``; ``progress`` through the budget sets the rate."""
        falling = LAST_RATE + (1 - LAST_RATE) * math.cos(progress * math.pi / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = self.peak_rate * min(1, (step + 1) / self.warm_up) * falling
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST_GRADIENT)
        self.optimiser.step()
        if self.average:
            self.average.update_parameters(self.network)

    def state(self) -> dict[str, Any]:
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": self.random.get_state(),
            **self.extra,
        }
        return state | ({"average": self.average.state_dict()} if self.average else {})

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.set_state(state["random"])
        for name, tensor in self.extra.items():
            tensor.copy_(state[name])
        if self.average:
            self.average.load_state_dict(state["average"])


class Resumable(Protocol):
    """All that a run goes on from: a ``Learner``, or several."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class Recipe(Protocol):
    """How one network is trained. ``progress`` runs from 0 to 1 over the budget and drives schedules."""

    @property
    def learner(self) -> Resumable: ...

    def step(self, step: int, progress: float) -> dict[str, float]:
        """Take one optimiser step; returns losses by name."""

    def sample(self, path: Path) -> None:
        """Write a picture that shows how far training is, where there is one."""

    def export(self, folder: Path) -> None:
        """Write the weights as they ship."""


def train(recipe: Recipe, run: Path, steps: int | None, minutes: float | None) -> None:
    """Train until the budget of steps or minutes is used up, going on from the run's checkpoint if any.

    The minutes count training already done by earlier runs of the same folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = run / "checkpoint.pt"
    step, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        recipe.learner.restore(saved["recipe"])
        step, spent = saved["step"], saved["spent"]
    began = time.monotonic() - spent
    saved_at = sampled_at = time.monotonic()
    with (run / "log.jsonl").open("a") as log, tqdm(initial=step, total=steps, unit="step") as bar:
        while True:
            spent = time.monotonic() - began
            progress = max(step / steps if steps else 0.0, spent / 60 / minutes if minutes else 0.0)
            if progress >= 1:
                break
            losses = recipe.step(step, progress)
            step += 1
            bar.update()
            if step % LOG_EVERY == 0:
                bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
                log.write(json.dumps({"step": step, "seconds": round(spent, 1), **losses}) + "\n")
                log.flush()
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                _save(checkpoint, recipe, step, spent)
                saved_at = time.monotonic()
            if time.monotonic() - sampled_at > SAMPLE_SECONDS:
                recipe.sample(run / "sample.png")
                sampled_at = time.monotonic()
    _save(checkpoint, recipe, step, spent)
    recipe.sample(run / "sample.png")


def _save(path: Path, recipe: Recipe, step: int, spent: float) -> None:
    aside = path.with_suffix(".partial")
    torch.save({"recipe": recipe.learner.state(), "step": step, "spent": spent}, aside)
    aside.replace(path)
