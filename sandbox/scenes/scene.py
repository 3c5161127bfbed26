"""What a scene, a caption and a family of scenes are, and batches of scenes as tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sandbox.scenes.canvas import Canvas
from sandbox.scenes.colours import PALETTE, RGB

ABSENT = ("none", "no")
TINT = 0.03


@dataclass(frozen=True)
class Scene:
    """A picture's description; ``seed`` decides everything the attributes leave open."""

    family: str
    seed: int
    attributes: dict[str, str]


@dataclass(frozen=True)
class Caption:
    """A text about a scene and the attributes whose values it states."""

    text: str
    named: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """One kind of scene: its attributes, how they are drawn by lot, pictured and worded.

    ``jitter`` gives the range of every number that the seed chooses freely.
    """

    name: str
    attributes: dict[str, tuple[str, ...]]
    jitter: dict[str, tuple[float, float]]
    sample: Callable[[random.Random], dict[str, str]]
    draw: Callable[[Canvas, Batch], None]
    captions: Callable[[Scene], list[Caption]]


class Batch:
    """Attributes and jitter of scenes of one family as tensors."""

    def __init__(
        self, attributes: Sequence[Mapping[str, str]], jitter: dict[str, Tensor], tint: Tensor
    ) -> None:
        self.attributes, self.jitter, self.tint = attributes, jitter, tint

    @classmethod
    def of(cls, family: Family, scenes: Sequence[Scene], device: torch.device | str) -> Batch:
        """The batch of scenes, all of ``family``."""
        count = 3 + len(family.jitter)
        rows = []
        for scene in scenes:
            rng = random.Random(scene.seed * 2 + 1)
            rows.append([rng.random() for _ in range(count)])
        table = torch.tensor(rows, device=device)
        jitter = {
            name: (low + (high - low) * table[:, 3 + index]).view(-1, 1, 1)
            for index, (name, (low, high)) in enumerate(family.jitter.items())
        }
        tint = 1 + TINT * (2 * table[:, :3] - 1)
        return cls([scene.attributes for scene in scenes], jitter, tint.view(-1, 3, 1, 1))

    def __getitem__(self, name: str) -> Tensor:
        """A jittered number of every scene, (B, 1, 1)."""
        return self.jitter[name]

    def having(self, name: str, *values: str) -> Tensor:
        """Which scenes have one of the values, (B,) bool."""
        flags = [attributes[name] in values for attributes in self.attributes]
        return torch.tensor(flags, device=self.tint.device)

    def colour(self, name: str, palette: Mapping[str, RGB] = PALETTE) -> Tensor:
        """The colours an attribute names, slightly varied by the seed, (B, 3, 1, 1)."""
        grey = palette.get("gray", (0.5, 0.5, 0.5))
        rows = [palette.get(attributes[name], grey) for attributes in self.attributes]
        colours = torch.tensor(rows, device=self.tint.device).view(-1, 3, 1, 1)
        return (colours * self.tint).clamp_(0, 1)

    def number(self, name: str, table: Mapping[str, float]) -> Tensor:
        """A number for the value of an attribute, (B, 1, 1)."""
        rows = [table[attributes[name]] for attributes in self.attributes]
        return torch.tensor(rows, device=self.tint.device, dtype=torch.float32).view(-1, 1, 1)

    def take(self, rows: Tensor) -> Batch:
        """The scenes at indices ``rows``, (N,) int64."""
        attributes = [self.attributes[row] for row in rows.tolist()]
        jitter = {name: values[rows] for name, values in self.jitter.items()}
        return Batch(attributes, jitter, self.tint[rows])


def draw_where(mask: Tensor, canvas: Canvas, batch: Batch, draw: Callable[[Canvas, Batch], None]) -> None:
    """Call ``draw`` with only those pictures where ``mask``, (B,) bool, holds."""
    if bool(mask.all()):
        draw(canvas, batch)
    elif bool(mask.any()):
        rows = mask.nonzero()[:, 0]
        part = canvas.take(rows)
        draw(part, batch.take(rows))
        canvas.put(rows, part)


def caption(scene: Scene, text: str, *named: str) -> Caption:
    """A caption naming those of the attributes that the scene has."""
    present = tuple(name for name in named if scene.attributes[name] not in ABSENT)
    return Caption(" ".join(text.split()).replace(" ,", ","), present)


def a(words: str) -> str:
    """The words with the article they need."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def listed(things: Sequence[str]) -> str:
    """The things with commas between them and "and" before the last."""
    return " and ".join(filter(None, (", ".join(things[:-1]), things[-1])))
