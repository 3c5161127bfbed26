"""One or two plain shapes on a coloured background."""

from __future__ import annotations

import random
from functools import partial

import torch
from torch import Tensor

from sandbox.scenes import canvas as sdf
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "diamond")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "black", "white", "gray")
ATTRIBUTES = {
    "count": ("one", "two"),
    "shape": SHAPES,
    "colour": COLOURS,
    "size": ("none", "small", "large"),
    "other_shape": ("none", *SHAPES),
    "other_colour": ("none", *COLOURS),
    "relation": ("none", "left of", "above"),
    "background": COLOURS,
}
JITTER = {
    "x": (-1, 1),
    "y": (-1, 1),
    "tilt": (-0.16, 0.16),
    "other_tilt": (-0.16, 0.16),
    "grow": (0.92, 1.08),
    "other_grow": (0.92, 1.08),
}


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot; no thing has the background's colour."""
    background, colour = rng.sample(COLOURS, 2)
    shape = rng.choice(SHAPES)
    scene = {
        "count": "one",
        "shape": shape,
        "colour": colour,
        "size": rng.choice(("small", "large")),
    }
    scene |= {
        "other_shape": "none",
        "other_colour": "none",
        "relation": "none",
        "background": background,
    }
    if rng.random() < 0.5:
        other = rng.choice([c for c in COLOURS if c != background])
        others = [s for s in SHAPES if (s, other) != (shape, colour)]
        scene |= {
            "count": "two",
            "size": "none",
            "other_shape": rng.choice(others),
            "other_colour": other,
        }
        scene["relation"] = rng.choice(("left of", "above"))
    return scene


def shape_distance(name: str, x: Tensor, y: Tensor) -> Tensor:
    """Distance to a shape of about unit radius."""
    if name == "circle":
        return sdf.circle(x, y, 0.92)
    if name == "square":
        return sdf.box(x, y, 0.8, 0.8)
    if name == "triangle":
        return sdf.convex(x, y, (0.0, 0.95), (0.98, -0.75), (-0.98, -0.75))
    if name == "star":
        return sdf.star(x, y, 1.08, 0.47)
    if name == "ring":
        return sdf.circle(x, y, 0.7).abs() - 0.24
    if name == "cross":
        return sdf.union(sdf.box(x, y, 0.95, 0.31), sdf.box(x, y, 0.31, 0.95))
    if name == "heart":
        return sdf.heart(x / 1.65, y / 1.65 + 0.55) * 1.65
    return sdf.diamond(x, y, 0.72, 1.05)


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw the background and the shapes."""
    canvas.fill(batch.colour("background"), "background", 0.07 * canvas.y)
    two = batch.having("count", "two").view(-1, 1, 1)
    above = batch.having("relation", "above").view(-1, 1, 1)
    radius = torch.where(two, 0.37, batch.number("size", {"none": 0.37, "small": 0.25, "large": 0.6}))
    apart = 0.47 + 0.03 * batch["x"]
    along_x = torch.where(two & ~above, -apart, batch["x"] * torch.where(two, 0.3, 0.8 - radius))
    along_y = torch.where(two & above, apart, batch["y"] * torch.where(two, 0.3, 0.8 - radius))
    other_x = torch.where(above, along_x, apart)
    other_y = torch.where(above, -apart, along_y)
    first = canvas.local(along_x, along_y, radius * batch["grow"], batch["tilt"])
    draw_shapes(first, batch, "shape", "colour")
    other = canvas.local(other_x, other_y, radius * batch["other_grow"], batch["other_tilt"])
    draw_shapes(other, batch, "other_shape", "other_colour")


def draw_shapes(canvas: Canvas, batch: Batch, shape: str, colour: str) -> None:
    """Draw one shape in every picture that has it, in the canvas's own frame."""
    for name in SHAPES:
        mask = batch.having(shape, name)
        draw_where(mask, canvas, batch, partial(draw_shape, name=name, colour=colour))


def draw_shape(canvas: Canvas, batch: Batch, name: str, colour: str) -> None:
    """Draw one shape with its shadow, lit from above left."""
    distance = shape_distance(name, canvas.x, canvas.y)
    shadow = shape_distance(name, canvas.x - 0.07, canvas.y + 0.09)
    canvas.paint(shadow, (0.0, 0.0, 0.0), opacity=0.22, blur=0.25)
    canvas.paint(distance, batch.colour(colour), "shape", tone=0.1 * (canvas.y - canvas.x))


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the shapes, the full one first."""
    return _two(scene) if scene.attributes["count"] == "two" else _one(scene)


def _one(scene: Scene) -> list[Caption]:
    v = scene.attributes
    shape, size, background = f"{v['colour']} {v['shape']}", v["size"], v["background"]
    big = {"small": "little", "large": "big"}[size]
    full = ("count", "size", "colour", "shape", "background")
    return [
        caption(scene, f"{a(size)} {shape} on {a(background)} background", *full),
        caption(scene, f"one {big} {shape} on {background}", *full),
        caption(scene, f"on {a(background)} background, {a(big)} {shape}", *full),
        caption(
            scene,
            f"{a(shape)} on {a(background)} background",
            "count",
            "colour",
            "shape",
            "background",
        ),
        caption(scene, f"{a(size)} {shape}", "count", "size", "colour", "shape"),
        caption(scene, a(shape), "count", "colour", "shape"),
    ]


def _two(scene: Scene) -> list[Caption]:
    v = scene.attributes
    first, other = f"{v['colour']} {v['shape']}", f"{v['other_colour']} {v['other_shape']}"
    background, relation = v["background"], v["relation"]
    inverse = {"left of": "right of", "above": "below"}[relation]
    things = ("count", "colour", "shape", "other_colour", "other_shape")
    full = (*things, "relation", "background")
    return [
        caption(scene, f"{a(first)} {relation} {a(other)} on {a(background)} background", *full),
        caption(scene, f"{a(other)} {inverse} {a(first)} on {a(background)} background", *full),
        caption(scene, f"on {background}, {a(first)} {relation} {a(other)}", *full),
        caption(scene, f"{a(first)} {relation} {a(other)}", *things, "relation"),
        caption(scene, f"{a(other)} {inverse} {a(first)}", *things, "relation"),
        caption(scene, f"{a(first)} and {a(other)} on {background}", *things, "background"),
    ]


FAMILY = Family("shapes", ATTRIBUTES, JITTER, sample, draw, captions)
