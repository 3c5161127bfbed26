"""A large bird, perched on a branch or flying."""

from __future__ import annotations

import random

import torch

from sandbox.scenes import canvas as sdf
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where

COLOURS = ("red", "green", "blue", "yellow", "brown", "black", "white", "pink")
ATTRIBUTES = {
    "body": COLOURS,
    "wing": COLOURS,
    "head": COLOURS,
    "beak": ("orange", "yellow", "black", "red"),
    "pose": ("perched", "flying"),
}
JITTER = {
    "x": (-0.08, 0.08),
    "y": (-0.06, 0.06),
    "grow": (0.95, 1.08),
    "tilt": (-0.08, 0.08),
    "side": (-1, 1),
    "sway": (-1, 1),
    "flap": (-0.12, 0.12),
}


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot; wing and beak differ from what they lie on."""
    body, head = rng.choice(COLOURS), rng.choice(COLOURS)
    wing = rng.choice([c for c in COLOURS if c != body])
    beak = rng.choice([c for c in ATTRIBUTES["beak"] if c != head])
    return {
        "body": body,
        "wing": wing,
        "head": head,
        "beak": beak,
        "pose": rng.choice(ATTRIBUTES["pose"]),
    }


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw the bird in its pose."""
    draw_where(batch.having("pose", "perched"), canvas, batch, draw_perched)
    draw_where(batch.having("pose", "flying"), canvas, batch, draw_flying)


def frame(canvas: Canvas, batch: Batch) -> Canvas:
    """The frame the bird is drawn in, looking right or left."""
    flip = torch.where(batch["side"] > 0, 1.0, -1.0)
    smaller = batch.number("pose", {"perched": 1.0, "flying": 0.92})
    return canvas.local(batch["x"], batch["y"], batch["grow"] * smaller, batch["tilt"], flip)


def draw_perched(canvas: Canvas, batch: Batch) -> None:
    """A sitting bird before blurred leaves."""
    canvas.fill(canvas.colour((0.66, 0.78, 0.62)) * batch.tint, "background", 0.16 * canvas.y)
    for x, y, radius in (
        (-0.7, 0.6, 0.3),
        (0.6, 0.75, 0.34),
        (0.75, -0.25, 0.25),
        (-0.75, -0.3, 0.28),
    ):
        spot = sdf.circle(canvas.x - x - 0.2 * batch["sway"], canvas.y - y, radius)
        canvas.paint(spot, (0.86, 0.93, 0.74), opacity=0.4, blur=0.25)
    draw_branch(canvas, batch)
    bird = frame(canvas, batch)
    x, y = bird.x, bird.y
    legs = sdf.box((x + 0.02).abs() - 0.1, y + 0.58, 0.03, 0.14)
    bird.paint(legs, (0.36, 0.26, 0.20), "bird")
    tail = sdf.capsule(x, y, (-0.3, -0.25), (-0.78, -0.62), 0.1)
    bird.paint(tail, batch.colour("wing") * 0.8, "bird")
    u, v = sdf.rotate(x + 0.04, y + 0.12, 0.6)
    body = sdf.ellipse(u, v, 0.52, 0.38)
    bird.paint(body, batch.colour("body"), "bird", tone=0.4 * (y + 0.1) - 0.1)
    draw_head(bird.local(0.26, 0.34), batch)
    u, v = sdf.rotate(x + 0.2, y + 0.14, 0.72)
    wing = sdf.common(sdf.circle(u, v + 0.28, 0.46), sdf.circle(u, v - 0.28, 0.46))
    bird.paint(wing - 0.04, batch.colour("wing"), "bird", tone=0.35 * v)


def draw_branch(canvas: Canvas, batch: Batch) -> None:
    """A thick branch with two leaves."""
    part = canvas.window(-1, 1, -1, -0.3).local(0.0, -0.72 + batch["y"])
    thickness = 0.075 + 0.015 * part.x
    line = part.y - 0.05 * part.x * batch["sway"]
    part.paint(line.abs() - thickness, (0.43, 0.29, 0.18), "branch", tone=3.0 * line)
    for x, angle in ((-0.72, -0.7), (0.72, 0.6)):
        leaf = part.local(x, -0.13 if angle < 0 else 0.14, 1.0, angle)
        shape = sdf.ellipse(leaf.x, leaf.y, 0.2, 0.085)
        leaf.paint(shape, (0.26, 0.55, 0.24), "leaf", tone=2.0 * leaf.y)


def draw_head(canvas: Canvas, batch: Batch) -> None:
    """Head, eye and beak about the origin, looking right."""
    x, y = canvas.x, canvas.y
    beak = sdf.convex(x, y, (0.18, 0.14), (0.56, -0.04), (0.18, -0.14)) - 0.015
    canvas.paint(beak, batch.colour("beak"), "bird", tone=1.2 * y)
    canvas.paint(sdf.circle(x, y, 0.29), batch.colour("head"), "bird", tone=0.5 * y - 0.05)
    canvas.paint(sdf.circle(x - 0.1, y - 0.06, 0.085), (0.98, 0.98, 0.96), "bird")
    canvas.paint(sdf.circle(x - 0.115, y - 0.06, 0.055), (0.05, 0.05, 0.06), "bird")


def draw_flying(canvas: Canvas, batch: Batch) -> None:
    """A bird with raised wings in the sky."""
    blue = canvas.colour((0.58, 0.80, 0.97)) * batch.tint
    canvas.fill(blue, "sky", -0.12 * canvas.y)
    for x, y, width in ((-0.6, 0.72, 0.42), (0.68, -0.62, 0.45), (-0.7, -0.6, 0.36)):
        cloud = sdf.ellipse(canvas.x - x - 0.15 * batch["sway"], canvas.y - y, width, 0.13)
        canvas.paint(cloud, (1.0, 1.0, 1.0), opacity=0.85, blur=0.16)
    bird = frame(canvas, batch).local(0.06, 0.0)
    draw_wing(bird.local(0.06, 0.0, 0.92, 1.15 + batch["flap"]), batch, 0.72)
    x, y = bird.x, bird.y + 0.12
    tail = sdf.convex(x, y, (-0.35, 0.1), (-0.3, -0.08), (-0.82, -0.24), (-0.86, 0.04)) - 0.03
    bird.paint(tail, batch.colour("wing") * 0.8, "bird")
    body = sdf.ellipse(x, y, 0.52, 0.25)
    bird.paint(body, batch.colour("body"), "bird", tone=0.7 * y)
    draw_head(bird.local(0.45, 0.0, 0.82), batch)
    draw_wing(bird.local(-0.08, -0.06, 1.0, 2.05 + batch["flap"]), batch, 1.0)


def draw_wing(canvas: Canvas, batch: Batch, shade: float) -> None:
    """A long wing from the origin along x."""
    along = (canvas.x / 0.88).clamp(0, 1)
    width = 0.25 * (1 - along * along).clamp(min=0).sqrt() + 0.01
    middle = canvas.y - 0.1 * torch.sin(along * 3.1)
    wing = sdf.common(middle.abs() - width, (canvas.x - 0.44).abs() - 0.46)
    canvas.paint(wing, batch.colour("wing") * shade, "bird", tone=-0.8 * middle.clamp(-0.3, 0.3))


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the bird, the full one first."""
    v = scene.attributes
    body, pose = v["body"], v["pose"]
    head, beak = a(f"{v['head']} head"), a(f"{v['beak']} beak")
    wings = f"{v['wing']} wings"
    place = {"perched": "on a branch", "flying": "flying in the sky"}[pose]
    short = {"perched": "sitting on a branch", "flying": "in the sky"}[pose]
    full = ("body", "wing", "head", "beak", "pose")
    return [
        caption(scene, f"{a(body)} bird with {head}, {wings} and {beak} {place}", *full),
        caption(scene, f"{place}, {a(body)} bird with {wings}, {beak} and {head}", *full),
        caption(scene, f"a bird with {a(body)} body, {head}, {beak} and {wings} {short}", *full),
        caption(scene, f"{a(body)} bird with {wings}", "body", "wing"),
        caption(scene, f"{a(body)} bird {short}", "body", "pose"),
        caption(scene, f"{a(body)} bird with {head} and {beak}", "body", "head", "beak"),
    ]


FAMILY = Family("birds", ATTRIBUTES, JITTER, sample, draw, captions)
