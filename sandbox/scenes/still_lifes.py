"""Two things side by side on a table before a wall."""

from __future__ import annotations

import random
from functools import partial

import torch
from torch import Tensor

from sandbox.scenes import canvas as sdf
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where

THINGS = {
    "apple": ("red", "green", "yellow"),
    "pear": ("green", "yellow"),
    "orange": ("orange",),
    "banana": ("yellow",),
    "bottle": ("green", "blue", "brown", "red"),
    "cup": ("red", "blue", "white", "yellow", "black"),
    "vase": ("blue", "white", "purple", "pink", "orange"),
}
COLOURS = tuple(dict.fromkeys(colour for colours in THINGS.values() for colour in colours))
ATTRIBUTES = {
    "left": tuple(THINGS),
    "left_colour": COLOURS,
    "right": tuple(THINGS),
    "right_colour": COLOURS,
    "table": ("brown", "white", "gray", "black"),
    "wall": ("blue", "green", "yellow", "pink", "gray", "purple"),
}
JITTER = {
    "left_x": (-0.5, -0.4),
    "right_x": (0.4, 0.5),
    "left_y": (-0.68, -0.52),
    "right_y": (-0.68, -0.52),
    "left_grow": (0.94, 1.06),
    "right_grow": (0.94, 1.06),
    "left_side": (-1, 1),
    "right_side": (-1, 1),
    "edge": (-0.24, -0.14),
}


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot; nothing has the wall's colour."""
    table, wall = rng.choice([(t, w) for t in ATTRIBUTES["table"] for w in ATTRIBUTES["wall"] if t != w])
    possible = {t: [c for c in colours if c != wall] for t, colours in THINGS.items()}
    left, right = rng.sample([thing for thing, colours in possible.items() if colours], 2)
    return {
        "left": left,
        "left_colour": rng.choice(possible[left]),
        "right": right,
        "right_colour": rng.choice(possible[right]),
        "table": table,
        "wall": wall,
    }


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw wall and table, then the things."""
    draw_room(canvas, batch)
    for side, bounds in (("left", (-1.0, 0.3)), ("right", (-0.1, 1.0))):
        part = canvas.window(*bounds, -0.95, 0.7)
        for name in THINGS:
            paint = partial(draw_thing, side=side, name=name)
            draw_where(batch.having(side, name), part, batch, paint)


def draw_room(canvas: Canvas, batch: Batch) -> None:
    """A softly lit wall and a table top."""
    x, y = canvas.x, canvas.y
    light = 0.2 * torch.exp(-((x + 0.4) ** 2) - (y - 0.5) ** 2) - 0.06
    wall = sdf.mix(batch.colour("wall"), canvas.colour((0.9, 0.9, 0.9)), 0.22)
    canvas.fill(wall, "wall", light)
    part = canvas.window(-1, 1, -1, -0.1)
    edge = part.y - batch["edge"]
    table = sdf.mix(batch.colour("table"), canvas.colour((0.9, 0.9, 0.9)), 0.08)
    part.paint(edge - 0.05, (0.0, 0.0, 0.0), opacity=0.22, blur=0.1)
    part.paint(edge, table, "table", tone=-0.12 * part.x - 0.12 * edge)


def draw_thing(canvas: Canvas, batch: Batch, side: str, name: str) -> None:
    """One thing with the shadow it casts to the right."""
    flip = torch.where(batch[f"{side}_side"] > 0, 1.0, -1.0)
    place = (batch[f"{side}_x"], batch[f"{side}_y"], batch[f"{side}_grow"])
    shadow = canvas.local(*place)
    width = {"banana": 0.42, "bottle": 0.22}.get(name, 0.32)
    dark = sdf.ellipse(shadow.x - 0.12, shadow.y - 0.01, width, 0.08)
    shadow.paint(dark, (0.0, 0.0, 0.0), opacity=0.38, blur=0.1)
    mirrored = name in ("cup", "banana")
    thing = canvas.local(*place, flip=flip if mirrored else 1.0)
    light = thing.x * flip if mirrored else thing.x
    DRAWINGS[name](thing, batch.colour(f"{side}_colour"), light)


def draw_round(canvas: Canvas, body: Tensor, colour: Tensor, light: Tensor, y: float, name: str) -> None:
    """A body shaded as a ball about height ``y``, with a highlight."""
    near = ((light + 0.14) ** 2 + (canvas.y - y - 0.14) ** 2).sqrt()
    canvas.paint(body, colour, name, tone=0.12 - 1.0 * (near - 0.1).clamp(0, 0.48))
    glint = sdf.common(sdf.ellipse(light + 0.13, canvas.y - y - 0.13, 0.08, 0.06), body)
    canvas.paint(glint, (1.0, 1.0, 1.0), opacity=0.65, blur=0.05)


def draw_tube(canvas: Canvas, body: Tensor, colour: Tensor, light: Tensor, width: float) -> None:
    """A body shaded as a cylinder, with a highlight along it."""
    canvas.paint(body, colour, "vessel", tone=0.1 - 0.42 * ((light / width + 0.4).abs()) ** 1.5)
    glint = sdf.common(sdf.box(light + 0.45 * width, canvas.y - 0.26, 0.03, 0.15, 0.03), body + 0.02)
    canvas.paint(glint, (1.0, 1.0, 1.0), opacity=0.55, blur=0.04)


def draw_apple(canvas: Canvas, colour: Tensor, light: Tensor) -> None:
    """A round apple with a stalk and a leaf."""
    x, y = canvas.x, canvas.y
    body = sdf.smooth_union(sdf.circle(x - 0.11, y - 0.30, 0.25), sdf.circle(x + 0.11, y - 0.30, 0.25), 0.06)
    body = sdf.smooth_union(body, sdf.ellipse(x, y - 0.18, 0.24, 0.18), 0.1)
    draw_round(canvas, body, colour, light, 0.28, "fruit")
    canvas.paint(sdf.capsule(x, y, (0.0, 0.48), (0.04, 0.66), 0.028), (0.36, 0.22, 0.12), "fruit")
    u, v = sdf.rotate(x - 0.15, y - 0.62, 0.4)
    canvas.paint(sdf.ellipse(u, v, 0.13, 0.06), (0.25, 0.58, 0.20), "leaf")


def draw_pear(canvas: Canvas, colour: Tensor, light: Tensor) -> None:
    """A pear, narrow at the top."""
    x, y = canvas.x, canvas.y
    body = sdf.smooth_union(sdf.circle(x, y - 0.26, 0.29), sdf.ellipse(x, y - 0.60, 0.15, 0.2), 0.2)
    draw_round(canvas, body, colour, light, 0.26, "fruit")
    canvas.paint(sdf.capsule(x, y, (0.0, 0.78), (0.05, 0.93), 0.028), (0.36, 0.22, 0.12), "fruit")


def draw_orange(canvas: Canvas, colour: Tensor, light: Tensor) -> None:
    """A ball with a small green calyx."""
    x, y = canvas.x, canvas.y
    draw_round(canvas, sdf.circle(x, y - 0.28, 0.31), colour, light, 0.28, "fruit")
    canvas.paint(sdf.star(x, (y - 0.52) * 1.6, 0.10, 0.06), (0.24, 0.46, 0.16), "leaf")


def draw_banana(canvas: Canvas, colour: Tensor, light: Tensor) -> None:
    """A banana lying on its back."""
    x, y = canvas.x, canvas.y
    outer = sdf.circle(x, y - 0.46, 0.46)
    inner = sdf.circle(x, y - 0.66, 0.48)
    body = sdf.common(outer, -inner)
    canvas.paint(body - 0.02, colour, "fruit", tone=0.2 - 1.65 * inner.clamp(min=0))
    tips = sdf.union(
        sdf.circle(x - 0.44, y - 0.56, 0.045), sdf.capsule(x, y, (-0.44, 0.55), (-0.47, 0.66), 0.04)
    )
    canvas.paint(tips, (0.38, 0.26, 0.12), "fruit")


def draw_bottle(canvas: Canvas, colour: Tensor, light: Tensor) -> None:
    """A glass bottle with a cork and a label."""
    x, y = canvas.x, canvas.y
    body = sdf.box(x, y - 0.32, 0.2, 0.34, 0.07)
    body = sdf.smooth_union(body, sdf.box(x, y - 0.82, 0.075, 0.2, 0.02), 0.2)
    canvas.paint(sdf.box(x, y - 1.04, 0.06, 0.07, 0.015), (0.78, 0.60, 0.40), "vessel")
    draw_tube(canvas, body, colour, light, 0.2)
    label = sdf.common(sdf.box(x, y - 0.28, 0.2, 0.13), body)
    canvas.paint(label, (0.95, 0.92, 0.82), "vessel", tone=-0.3 * (light / 0.2 + 0.4).abs() ** 1.5)


def draw_cup(canvas: Canvas, colour: Tensor, light: Tensor) -> None:
    """A cup with a handle."""
    x, y = canvas.x, canvas.y
    handle = sdf.ellipse(x - 0.28, y - 0.28, 0.17, 0.16).abs() - 0.04
    canvas.paint(handle, colour * 0.85, "vessel")
    body = sdf.convex(x, y, (-0.30, 0.54), (0.30, 0.54), (0.22, 0.03), (-0.22, 0.03)) - 0.03
    draw_tube(canvas, body, colour, light, 0.3)
    canvas.paint(sdf.ellipse(x, y - 0.55, 0.33, 0.085), colour, "vessel", tone=0.15)
    canvas.paint(sdf.ellipse(x, y - 0.545, 0.27, 0.06), (0.30, 0.17, 0.10), "vessel")


def draw_vase(canvas: Canvas, colour: Tensor, light: Tensor) -> None:
    """A round vase with a flared neck."""
    x, y = canvas.x, canvas.y
    body = sdf.smooth_union(sdf.ellipse(x, y - 0.38, 0.3, 0.33), sdf.box(x, y - 0.72, 0.09, 0.16), 0.12)
    body = sdf.smooth_union(body, sdf.box(x, y - 0.07, 0.15, 0.06, 0.03), 0.06)
    body = sdf.smooth_union(body, sdf.ellipse(x, y - 0.90, 0.19, 0.05), 0.1)
    draw_tube(canvas, body, colour, light, 0.3)
    canvas.paint(sdf.ellipse(x, y - 0.92, 0.14, 0.03), colour * 0.35, "vessel")


DRAWINGS = {
    "apple": draw_apple,
    "pear": draw_pear,
    "orange": draw_orange,
    "banana": draw_banana,
    "bottle": draw_bottle,
    "cup": draw_cup,
    "vase": draw_vase,
}


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the still life, the full one first."""
    v = scene.attributes
    left, right = (_named(v[side], v[f"{side}_colour"]) for side in ("left", "right"))
    table, wall = a(f"{v['table']} table"), a(f"{v['wall']} wall")
    things = ("left", "left_colour", "right", "right_colour")
    full = (*things, "table", "wall")
    return [
        caption(scene, f"{left} left of {right} on {table} before {wall}", *full),
        caption(scene, f"{right} right of {left} on {table} before {wall}", *full),
        caption(scene, f"before {wall}, {left} left of {right} on {table}", *full),
        caption(scene, f"{left} and {right} on {table}", *things, "table"),
        caption(scene, f"{left} left of {right}", *things),
        caption(scene, f"{left} on {table} before {wall}", "left", "left_colour", "table", "wall"),
    ]


def _named(thing: str, colour: str) -> str:
    return a(thing if thing == colour else f"{colour} {thing}")


FAMILY = Family("still_lifes", ATTRIBUTES, JITTER, sample, draw, captions)
