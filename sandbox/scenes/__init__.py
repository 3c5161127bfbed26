"""Seeded scenes with known contents: pictures, captions, segmentation and mattes.

Everything is a pure function of the scene, and a scene of its seed and family.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sandbox.scenes import (
    animals,
    birds,
    flowers,
    landscapes,
    people,
    shapes,
    still_lifes,
    streets,
)
from sandbox.scenes.canvas import CLASSES, Canvas
from sandbox.scenes.scene import Batch, Caption, Family, Scene
from sandbox.scenes.vocabulary import vocabulary

__all__ = [
    "ATTRIBUTES",
    "CLASSES",
    "FAMILIES",
    "HELD_OUT",
    "Caption",
    "Scene",
    "captions",
    "matte",
    "render",
    "sample_scene",
    "segment",
    "vocabulary",
]

_MODULES = (shapes, landscapes, flowers, people, streets, birds, animals, still_lifes)
_REGISTRY: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in _MODULES}
FAMILIES: tuple[str, ...] = tuple(_REGISTRY)
ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    name: family.attributes for name, family in _REGISTRY.items()
}
HELD_OUT = 1_000_000_000
"""Seeds from here on are never trained on."""

CHUNK_PIXELS = 2**18
"""Pixels drawn at once on a CPU, so that the working set stays in its cache."""


def sample_scene(seed: int, family: str | None = None) -> Scene:
    """The scene of a seed; the seed also chooses the family where none is given."""
    rng = random.Random(seed * 2)
    chosen = rng.choice(FAMILIES)
    name = chosen if family is None else family
    return Scene(name, seed, _REGISTRY[name].sample(rng))


def captions(scene: Scene) -> tuple[Caption, ...]:
    """Wordings of a scene: the full caption, then others, some leaving things out.

    What a scene has not (values "none" and "no") is never mentioned.
    """
    texts = dict.fromkeys(_REGISTRY[scene.family].captions(scene))
    unique = {caption.text: caption for caption in reversed(texts)}
    return tuple(reversed(unique.values()))


def render(scenes: Sequence[Scene], size: int = 128, device: torch.device | str = "cpu") -> Tensor:
    """Pictures of the scenes in their order, (B, 3, size, size) float32 in [0, 1]."""
    return _draw(scenes, size, device, lambda canvas: canvas.image.clamp_(0, 1))


def segment(scenes: Sequence[Scene], size: int = 128, device: torch.device | str = "cpu") -> Tensor:
    """Index into ``CLASSES`` of every pixel, (B, size, size) uint8."""
    return _draw(scenes, size, device, lambda canvas: canvas.classes)


def matte(scenes: Sequence[Scene], size: int = 128, device: torch.device | str = "cpu") -> Tensor:
    """Coverage of every pixel by the person, (B, 1, size, size) in [0, 1]."""
    others = {scene.family for scene in scenes} - {"people"}
    if others:
        raise ValueError(f"Only people have a matte, not {', '.join(sorted(others))}.")
    return _draw(scenes, size, device, lambda canvas: canvas.alpha.unsqueeze(1).clamp_(0, 1))


def _draw(
    scenes: Sequence[Scene],
    size: int,
    device: torch.device | str,
    result: Callable[[Canvas], Tensor],
) -> Tensor:
    """Draw the scenes family by family and collect a part of every canvas."""
    if not scenes:
        return result(Canvas.blank(0, size, device))
    on_cpu = torch.device(device).type == "cpu"
    step = max(1, CHUNK_PIXELS // size**2) if on_cpu else len(scenes)
    order: list[int] = []
    parts = []
    with torch.no_grad():
        for name in FAMILIES:
            rows = [index for index, scene in enumerate(scenes) if scene.family == name]
            order += rows
            for start in range(0, len(rows), step):
                chunk = [scenes[row] for row in rows[start : start + step]]
                canvas = Canvas.blank(len(chunk), size, device)
                _REGISTRY[name].draw(canvas, Batch.of(_REGISTRY[name], chunk, device))
                parts.append(result(canvas))
    drawn = torch.cat(parts)
    return torch.empty_like(drawn).index_copy_(0, torch.tensor(order, device=device), drawn)
