"""The frames of an animation as one file: a zip of numbered PNGs and ``recipe.json``."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from jobs import pictures

RECIPE = "recipe.json"
_BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)


def pack(frames: Mapping[int, bytes], recipe: Mapping[str, Any]) -> bytes:
    """PNG files by step, stored as they are under names that sort; the same frames give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        file.writestr(_member(RECIPE), json.dumps(recipe, sort_keys=True, indent=2))
        for step, frame in sorted(frames.items()):
            file.writestr(_member(f"{step:06d}.png"), frame)
    return packed.getvalue()


def images(packed: bytes) -> Iterator[np.ndarray]:
    """The frames in order, (height, width, 3) uint8, as an animation shows them: all of one size."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        names = sorted(name for name in file.namelist() if name != RECIPE)
        shown = (pictures.pixels(file.read(name)) for name in names)
        yield from pictures.fitted(shown, pictures.size(file.read(names[-1])))


def recipe(packed: bytes) -> dict[str, Any]:
    """What ``pack`` was given; strangers' files are for ``jobs.recipe.recipe_in``."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        found: dict[str, Any] = json.loads(file.read(RECIPE))
        return found


def from_gif(animation: bytes) -> bytes:
    """The frames of a GIF, for jobs that left no others; they are numbered from 0."""
    with Image.open(io.BytesIO(animation)) as moving:
        about = json.loads(moving.info.get("comment", b"{}"))
        shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(moving)]
    return pack({number: pictures.png(image) for number, image in enumerate(shown)}, about)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _BEGINNING_OF_TIME)
    member.create_system = 3  # as on Unix, wherever it is packed
    member.external_attr = 0o644 << 16
    return member
