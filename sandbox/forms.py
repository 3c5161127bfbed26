"""The sandbox BigGAN's classes: a scene's family with those attributes that give it its form.

What is left, colours above all, is the noise's to choose.
"""

from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor

from sandbox.scenes import Scene, sample_scene

FORM_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shapes": ("shape", "relation", "other_shape"),
    "landscapes": ("terrain", "time", "weather"),
    "flowers": ("petals",),
    "people": ("kind", "hair_length", "hat"),
    "streets": ("buildings", "time", "weather"),
    "birds": ("pose",),
    "animals": ("kind", "place"),
    "still_lifes": ("left", "right"),
}
SCENES_SEEN = 20_000
"""Among so many scenes every form occurs."""


@cache
def forms() -> tuple[tuple[str, ...], ...]:
    """All forms in the order of the classes."""
    return tuple(sorted({form(sample_scene(seed)) for seed in range(SCENES_SEEN)}))


def form(scene: Scene) -> tuple[str, ...]:
    """The family, then the values of its form's attributes."""
    return (scene.family, *(str(scene.attributes[name]) for name in FORM_ATTRIBUTES[scene.family]))


def classes(scenes: Iterable[Scene]) -> Tensor:
    """The class of each scene, (B,) int64."""
    numbers = {known: number for number, known in enumerate(forms())}
    return torch.tensor([numbers[form(scene)] for scene in scenes])
