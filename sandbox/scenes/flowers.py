"""One flower on its stem."""

from __future__ import annotations

import random

import torch

from sandbox.scenes import canvas as sdf
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where

COUNTS = {"four": 4.0, "five": 5.0, "six": 6.0, "eight": 8.0}
WIDTHS = {"four": 0.25, "five": 0.225, "six": 0.195, "eight": 0.15}
PETALS = ("red", "orange", "yellow", "pink", "purple", "blue", "white")
CENTRES = ("yellow", "brown", "white", "black", "red")
PLAIN = ("gray", "black", "white", "blue", "purple", "orange")
ATTRIBUTES = {
    "colour": PETALS,
    "petals": tuple(COUNTS),
    "centre": CENTRES,
    "background": (*PLAIN, "meadow", "sky"),
}
JITTER = {
    "x": (-0.16, 0.16),
    "y": (0.12, 0.3),
    "turn": (-0.35, 0.35),
    "grow": (0.95, 1.15),
    "bend": (-0.25, 0.25),
    "sway": (-1, 1),
    "leaf": (-0.12, 0.12),
}


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot; petals differ from the centre and the background."""
    colour = rng.choice(PETALS)
    unlike = {"blue": ("blue", "sky"), "orange": ("orange", "red")}.get(colour, (colour,))
    centre = rng.choice([c for c in CENTRES if c not in unlike])
    background = rng.choice([b for b in ATTRIBUTES["background"] if b not in unlike])
    return {
        "colour": colour,
        "petals": rng.choice(tuple(COUNTS)),
        "centre": centre,
        "background": background,
    }


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw the background, then the flower from back to front."""
    canvas.fill(batch.colour("background"), "background", 0.10 * canvas.y)
    draw_where(batch.having("background", "meadow"), canvas, batch, draw_meadow)
    draw_where(batch.having("background", "sky"), canvas, batch, draw_sky)
    draw_stem(canvas, batch)
    draw_blossom(canvas.local(batch["x"], batch["y"], batch["grow"], batch["turn"]), batch)


def draw_meadow(canvas: Canvas, batch: Batch) -> None:
    """A blurred meadow with pale spots."""
    green = canvas.colour((0.45, 0.68, 0.30)) * batch.tint
    canvas.fill(green, "grass", 0.25 * canvas.y)
    for x, y, radius in (
        (-0.7, 0.55, 0.3),
        (0.65, 0.7, 0.25),
        (0.75, -0.35, 0.32),
        (-0.65, -0.5, 0.26),
    ):
        spot = sdf.circle(canvas.x - x - 0.15 * batch["sway"], canvas.y - y, radius)
        canvas.paint(spot, (0.80, 0.92, 0.50), opacity=0.28, blur=0.3)


def draw_sky(canvas: Canvas, batch: Batch) -> None:
    """A blue sky with soft clouds."""
    blue = canvas.colour((0.48, 0.74, 0.96)) * batch.tint
    canvas.fill(blue, "sky", -0.22 * canvas.y)
    for x, y, width in ((-0.65, 0.6, 0.45), (0.7, 0.25, 0.4), (-0.6, -0.45, 0.4)):
        cloud = sdf.ellipse(canvas.x - x - 0.12 * batch["sway"], canvas.y - y, width, 0.14)
        canvas.paint(cloud, (1.0, 1.0, 1.0), opacity=0.8, blur=0.2)


def draw_stem(canvas: Canvas, batch: Batch) -> None:
    """The stem and its two leaves."""
    part = canvas.window(-0.8, 0.8, -1, 0.35)
    fall = (batch["y"] - part.y).clamp(min=0)
    middle = batch["x"] + batch["bend"] * fall * fall * 0.5
    green = part.colour((0.20, 0.52, 0.18)) * batch.tint
    across = part.x - middle
    stem = sdf.common(across.abs() - 0.045, part.y - batch["y"])
    part.paint(stem, green, "leaf", tone=-5 * across.clamp(-0.05, 0.05))
    for side, height in ((1.0, -0.55), (-1.0, -0.68)):
        drop = batch["y"] - height
        foot = batch["x"] + batch["bend"] * drop * drop * 0.5
        leaf = part.local(foot, height + batch["leaf"], 1.0, flip=side)
        u, v = sdf.rotate(leaf.x, leaf.y, 0.65)
        shape = sdf.common(sdf.circle(u - 0.24, v - 0.16, 0.3), sdf.circle(u - 0.24, v + 0.16, 0.3))
        leaf.paint(shape, green, "leaf", tone=0.25 + 0.3 * torch.tanh(v * 20))


def draw_blossom(canvas: Canvas, batch: Batch) -> None:
    """Petals around the centre, darker towards it."""
    count, width = batch.number("petals", COUNTS), batch.number("petals", WIDTHS)
    along, across = sdf.fold(canvas.x, canvas.y, count)
    petal = sdf.ellipse(along - 0.36, across, 0.27, width)
    radius = (along * along + across * across).sqrt()
    tone = 0.42 * (radius - 0.5) - 0.25 * (across.abs() / width).clamp(max=1) ** 2
    colour = batch.colour("colour")
    canvas.paint(petal - 0.015, colour * 0.55, "flower", opacity=0.6, blur=0.02)
    canvas.paint(petal, colour, "flower", tone=(tone + 0.1).clamp(-0.4, 0.2))
    disc = sdf.circle(canvas.x, canvas.y, 0.185)
    canvas.paint(disc - 0.02, (0.0, 0.0, 0.0), opacity=0.3, blur=0.06)
    shine = 0.8 * (canvas.y - canvas.x)
    canvas.paint(disc, batch.colour("centre"), "flower", tone=shine)


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the flower, the full one first."""
    v = scene.attributes
    colour, petals, centre = v["colour"], f"{v['petals']} petals", v["centre"]
    place = {"meadow": "in a meadow", "sky": "before the sky"}.get(
        v["background"], f"on {a(v['background'])} background"
    )
    full = ("colour", "petals", "centre", "background")
    return [
        caption(scene, f"{a(colour)} flower with {petals} and {a(centre)} centre {place}", *full),
        caption(
            scene,
            f"a flower with {v['petals']} {colour} petals, {a(centre)} centre, {place}",
            *full,
        ),
        caption(scene, f"{place}, {a(colour)} flower with {a(centre)} centre and {petals}", *full),
        caption(scene, f"{a(colour)} flower with {a(centre)} centre", "colour", "centre"),
        caption(scene, f"{a(colour)} flower {place}", "colour", "background"),
        caption(scene, f"{a(colour)} flower with {petals}", "colour", "petals"),
    ]


FAMILY = Family("flowers", ATTRIBUTES, JITTER, sample, draw, captions)
