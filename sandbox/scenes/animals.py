"""A sitting animal seen from the front."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from sandbox.scenes import canvas as sdf
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where

KINDS = ("cat", "dog", "rabbit", "bear", "fox", "pig")
ATTRIBUTES = {
    "kind": KINDS,
    "colour": ("white", "black", "brown", "gray", "orange", "pink", "yellow"),
    "place": ("meadow", "beach", "snow", "night", "desert"),
    "scarf": ("none", "red", "blue", "green", "purple"),
}
JITTER = {
    "x": (-0.1, 0.1),
    "y": (-0.05, 0.05),
    "grow": (0.94, 1.06),
    "tilt": (-0.1, 0.1),
    "side": (-1, 1),
    "sway": (-1, 1),
    "look": (-0.02, 0.02),
}


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot."""
    return {name: rng.choice(values) for name, values in ATTRIBUTES.items()}


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw the place, then the animal from back to front."""
    for place, draw_place in PLACES.items():
        draw_where(batch.having("place", place), canvas, batch, draw_place)
    body = body_frame(canvas.window(-0.95, 0.95, -1, 0.1), batch)
    draw_kinds(TAILS, body, batch)
    draw_body(body, batch)
    scarf = ~batch.having("scarf", "none")
    draw_where(scarf, body, batch, draw_scarf_end)
    draw_kinds(EARS, head_frame(canvas.window(-0.8, 0.8, -0.4, 1), batch), batch)
    draw_where(scarf, body, batch, draw_scarf)
    draw_head(head_frame(canvas.window(-0.66, 0.66, -0.35, 0.75), batch), batch)
    face = head_frame(canvas.window(-0.75, 0.75, -0.36, 0.55), batch)
    draw_kinds(SNOUTS, face, batch)
    draw_eyes(face, batch)


def draw_kinds(drawings: dict[str, Callable[[Canvas, Batch], None]], canvas: Canvas, batch: Batch) -> None:
    """Draw a part of the body that differs from kind to kind."""
    for kind, draw_part in drawings.items():
        draw_where(batch.having("kind", kind), canvas, batch, draw_part)


def body_frame(canvas: Canvas, batch: Batch) -> Canvas:
    """The frame of the whole animal, with its tail right or left."""
    flip = torch.where(batch["side"] > 0, 1.0, -1.0)
    return canvas.local(batch["x"], batch["y"], batch["grow"], flip=flip)


def head_frame(canvas: Canvas, batch: Batch) -> Canvas:
    """The frame of the head, about its middle."""
    return body_frame(canvas, batch).local(0.0, 0.2, 1.0, batch["tilt"])


def draw_ground(
    canvas: Canvas,
    batch: Batch,
    top: tuple[float, float, float],
    low: tuple[float, float, float],
    ground: tuple[float, float, float],
    name: str,
) -> None:
    """A sky from ``top`` to ``low`` over ground with a gently curved horizon."""
    height = (canvas.y * 0.7 + 0.3).clamp(0, 1).unsqueeze(1)
    canvas.fill(sdf.mix(canvas.colour(low), canvas.colour(top), height), "sky")
    line = canvas.y + 0.28 - 0.06 * torch.sin(1.8 * canvas.x + 3 * batch["sway"])
    tone = (0.3 * line).clamp(-0.25, 0) + 0.08
    canvas.paint(line, canvas.colour(ground) * batch.tint, name, tone=tone)


def draw_meadow(canvas: Canvas, batch: Batch) -> None:
    """Grass with a few large flowers under a blue sky."""
    draw_ground(canvas, batch, (0.40, 0.68, 0.95), (0.82, 0.93, 0.99), (0.40, 0.68, 0.26), "grass")
    for x, y in ((-0.82, -0.48), (0.84, -0.55), (-0.74, -0.84), (0.72, -0.86)):
        spot = sdf.circle(canvas.x - x - 0.06 * batch["sway"], canvas.y - y, 0.055)
        canvas.paint(spot, (0.98, 0.90, 0.35), "flower", blur=0.03)


def draw_beach(canvas: Canvas, batch: Batch) -> None:
    """Sand before the sea."""
    draw_ground(canvas, batch, (0.45, 0.72, 0.96), (0.88, 0.95, 0.98), (0.95, 0.84, 0.60), "sand")
    part = canvas.window(-1, 1, -0.36, 0.1)
    sea = sdf.common(part.y - 0.06, -0.30 + 0.05 * torch.sin(2.2 * part.x + batch["sway"]) - part.y)
    part.paint(sea - 0.035, (0.97, 0.99, 1.0), "sand", blur=0.02)
    part.paint(sea, (0.14, 0.50, 0.74), "sea", tone=-0.6 * part.y)


def draw_snow(canvas: Canvas, batch: Batch) -> None:
    """Snow with falling flakes under a pale gray sky."""
    draw_ground(canvas, batch, (0.52, 0.58, 0.68), (0.78, 0.82, 0.88), (0.90, 0.93, 0.97), "snow")
    for x, y in ((-0.8, 0.75), (-0.72, 0.1), (0.8, 0.55), (0.72, 0.0), (-0.35, 0.88), (0.42, 0.9)):
        flake = sdf.circle(canvas.x - x - 0.08 * batch["sway"], canvas.y - y, 0.045)
        canvas.paint(flake, (1.0, 1.0, 1.0), opacity=0.95, blur=0.03)


def draw_night(canvas: Canvas, batch: Batch) -> None:
    """A dark meadow under moon and stars."""
    draw_ground(canvas, batch, (0.03, 0.04, 0.15), (0.15, 0.20, 0.42), (0.12, 0.24, 0.22), "grass")
    x, y = canvas.x - 0.7 - 0.08 * batch["sway"], canvas.y - 0.68
    canvas.light(0.5 * torch.exp(-3 * (x * x + y * y).sqrt()), (0.6, 0.65, 0.9))
    canvas.paint(sdf.circle(x, y, 0.16), (0.97, 0.95, 0.82), "sun")
    for u, v in ((-0.8, 0.8), (-0.5, 0.45), (-0.25, 0.88), (0.8, 0.2), (-0.85, 0.2)):
        star = sdf.circle(canvas.x - u, canvas.y - v, 0.02)
        canvas.paint(star, (1.0, 0.97, 0.85), blur=0.04)


def draw_desert(canvas: Canvas, batch: Batch) -> None:
    """Dunes under a hot sky."""
    draw_ground(canvas, batch, (0.95, 0.62, 0.36), (1.0, 0.86, 0.60), (0.80, 0.50, 0.24), "sand")
    for x, top in ((-0.8, -0.02), (0.75, -0.06)):
        dune = canvas.y - top + 0.6 * (canvas.x - x - 0.1 * batch["sway"]) ** 2 / 0.55
        canvas.paint(dune, (0.88, 0.60, 0.32), "sand", tone=(0.4 * dune).clamp(-0.2, 0))


def fur(batch: Batch) -> Tensor:
    """The coat's colour, (B, 3, 1, 1); black is lifted so that the shading shows."""
    return batch.colour("colour") * 0.92 + 0.05


def paler(colour: Tensor) -> Tensor:
    """The colour of belly and muzzle."""
    return colour * 0.5 + 0.5 * torch.tensor((0.98, 0.93, 0.86), device=colour.device).view(1, 3, 1, 1)


def draw_body(canvas: Canvas, batch: Batch) -> None:
    """Body, belly, front legs and feet."""
    x, y, colour = canvas.x, canvas.y, fur(batch)
    shadow = sdf.ellipse(x, y + 0.9, 0.62, 0.1)
    canvas.paint(shadow, (0.0, 0.0, 0.0), opacity=0.28, blur=0.12)
    body = sdf.smooth_union(sdf.ellipse(x, y + 0.5, 0.40, 0.44), sdf.ellipse(x, y + 0.68, 0.5, 0.24), 0.1)
    canvas.paint(body, colour, "animal", tone=-0.22 * x + 0.25 * (y + 0.5) - 0.08)
    belly = sdf.ellipse(x, y + 0.5, 0.22, 0.3)
    canvas.paint(belly, paler(colour), "animal", blur=0.06, opacity=0.9)
    legs = sdf.box(x.abs() - 0.17, y + 0.68, 0.085, 0.22, 0.085)
    canvas.paint(legs - 0.025, colour * 0.6, "animal", opacity=0.55, blur=0.03)
    canvas.paint(legs, colour, "animal", tone=0.2 * (y + 0.7) + 0.04)
    feet = sdf.ellipse(x.abs() - 0.19, y + 0.87, 0.15, 0.09)
    canvas.paint(feet, colour, "animal", tone=1.0 * (y + 0.87) + 0.05)


def draw_scarf(canvas: Canvas, batch: Batch) -> None:
    """A scarf around the neck."""
    x, y = canvas.x, canvas.y + 0.22 - 0.25 * canvas.x**2
    scarf = sdf.box(x, y, 0.38, 0.1, 0.09)
    canvas.paint(scarf - 0.02, (0.0, 0.0, 0.0), opacity=0.3, blur=0.05)
    canvas.paint(scarf, batch.colour("scarf"), "scarf", tone=1.5 * y - 0.15 * x)


def draw_scarf_end(canvas: Canvas, batch: Batch) -> None:
    """The end of the scarf on the chest."""
    x, y = canvas.x - 0.2, canvas.y + 0.42
    end = sdf.box(x, y, 0.1, 0.22, 0.04)
    canvas.paint(end, batch.colour("scarf"), "scarf", tone=-1.5 * x - 0.1)


def draw_head(canvas: Canvas, batch: Batch) -> None:
    """The head, lit from above left."""
    wide = batch.number(
        "kind", {"cat": 0.44, "dog": 0.41, "rabbit": 0.38, "bear": 0.46, "fox": 0.45, "pig": 0.46}
    )
    x, y = canvas.x, canvas.y
    head = sdf.smooth_union(sdf.ellipse(x, y, wide, 0.38), sdf.ellipse(x, y + 0.12, wide - 0.02, 0.24), 0.1)
    canvas.paint(head - 0.02, fur(batch) * 0.45, opacity=0.4, blur=0.05)
    canvas.paint(head, fur(batch), "animal", tone=0.26 * y - 0.18 * x + 0.02)


def draw_eyes(canvas: Canvas, batch: Batch) -> None:
    """Shiny eyes; a pale rim keeps them visible on dark fur."""
    x, y = canvas.x.abs() - 0.18, canvas.y - 0.07
    canvas.paint(sdf.ellipse(x, y, 0.088, 0.098), (0.97, 0.95, 0.90), "animal")
    canvas.paint(sdf.ellipse(x, y, 0.07, 0.082), (0.07, 0.05, 0.05), "animal")
    glint = sdf.circle(x + 0.0, y - 0.035, 0.028)
    canvas.paint(glint, (1.0, 1.0, 1.0), "animal")


def ear_pair(canvas: Canvas, x: float, y: float, angle: float) -> Canvas:
    """The frame of both ears at once, mirrored about the head's middle."""
    mirrored = Canvas(canvas.image, canvas.classes, canvas.alpha, canvas.x.abs(), canvas.y, canvas.pixel)
    return mirrored.local(x, y, 1.0, angle)


def draw_pointed_ears(canvas: Canvas, batch: Batch, height: float, tip: Tensor) -> None:
    """Triangular ears with a tip colour and a pale inside."""
    ear = ear_pair(canvas, 0.27, 0.22, -0.3)
    x, y = ear.x, ear.y
    outer = sdf.convex(x, y, (0.0, height), (0.19, -0.1), (-0.19, -0.1)) - 0.02
    ear.paint(outer, fur(batch), "animal", tone=-0.3 + 0.6 * y)
    ear.paint(sdf.common(outer, 0.6 * height - y), tip, "animal")
    inner = sdf.convex(x, y + 0.02, (0.0, height * 0.68), (0.11, -0.08), (-0.11, -0.08))
    ear.paint(inner, paler(fur(batch)) * ear.colour((1.0, 0.78, 0.78)), "animal")


def draw_cat_ears(canvas: Canvas, batch: Batch) -> None:
    """Pointed ears."""
    draw_pointed_ears(canvas, batch, 0.34, fur(batch))


def draw_fox_ears(canvas: Canvas, batch: Batch) -> None:
    """Large pointed ears with dark tips."""
    draw_pointed_ears(canvas, batch, 0.46, fur(batch) * 0.25)


def draw_dog_ears(canvas: Canvas, batch: Batch) -> None:
    """Hanging ears, drawn before the head and beside it."""
    ear = ear_pair(canvas, 0.44, -0.03, 0.22)
    shape = sdf.ellipse(ear.x, ear.y, 0.15, 0.36)
    ear.paint(shape, fur(batch) * 0.62, "animal", tone=0.6 * ear.y)


def draw_rabbit_ears(canvas: Canvas, batch: Batch) -> None:
    """Long upright ears."""
    ear = ear_pair(canvas, 0.18, 0.40, -0.16)
    ear.paint(sdf.ellipse(ear.x, ear.y, 0.12, 0.32), fur(batch), "animal", tone=0.2 * ear.y - 0.08)
    pink = paler(fur(batch)) * ear.colour((1.0, 0.72, 0.75))
    ear.paint(sdf.ellipse(ear.x, ear.y + 0.02, 0.058, 0.24), pink, "animal")


def draw_bear_ears(canvas: Canvas, batch: Batch) -> None:
    """Round ears."""
    ear = ear_pair(canvas, 0.34, 0.29, 0.0)
    ear.paint(sdf.circle(ear.x, ear.y, 0.155), fur(batch) * 0.9, "animal")
    ear.paint(sdf.circle(ear.x, ear.y - 0.01, 0.08), paler(fur(batch)) * 0.85, "animal")


def draw_pig_ears(canvas: Canvas, batch: Batch) -> None:
    """Small ears folded outwards."""
    ear = ear_pair(canvas, 0.33, 0.27, -0.75)
    shape = sdf.convex(ear.x, ear.y, (0.0, 0.26), (0.16, -0.1), (-0.16, -0.1)) - 0.03
    ear.paint(shape, fur(batch) * 0.78, "animal", tone=0.5 * ear.y)


def draw_mouth(canvas: Canvas, y: float) -> None:
    """A smile of two arcs below the nose."""
    u, v = canvas.x.abs() - 0.075, canvas.y - y
    arc = sdf.common(sdf.circle(u, v, 0.075).abs() - 0.019, v)
    canvas.paint(arc, (0.16, 0.09, 0.08), "animal")


def draw_nose(canvas: Canvas, y: float, width: float, colour: tuple[float, float, float]) -> None:
    """An oval nose."""
    canvas.paint(sdf.ellipse(canvas.x, canvas.y - y, width, width * 0.72), colour, "animal")
    canvas.paint(
        sdf.ellipse(canvas.x + 0.2 * width, canvas.y - y - 0.25 * width, width * 0.35, width * 0.2),
        (1.0, 1.0, 1.0),
        opacity=0.5,
    )


def draw_cat_snout(canvas: Canvas, batch: Batch) -> None:
    """Muzzle, pink nose and whiskers."""
    x, y = canvas.x, canvas.y
    cheeks = sdf.ellipse(x.abs() - 0.085, y + 0.17, 0.12, 0.09)
    canvas.paint(cheeks, paler(fur(batch)), "animal")
    draw_mouth(canvas, -0.15)
    draw_nose(canvas, -0.09, 0.06, (0.95, 0.50, 0.55))
    grey = paler(fur(batch)) * 0.5
    for slope in (0.02, -0.09):
        whisker = sdf.capsule(x.abs(), y, (0.22, -0.15 + slope), (0.54, -0.13 + 2.2 * slope), 0.015)
        canvas.paint(whisker, grey, "animal")


def draw_dog_snout(canvas: Canvas, batch: Batch) -> None:
    """A long pale muzzle, a large nose and the tongue."""
    x, y = canvas.x, canvas.y
    tongue = sdf.box(x, y + 0.32, 0.065, 0.09, 0.06)
    canvas.paint(sdf.ellipse(x, y + 0.15, 0.2, 0.18), paler(fur(batch)), "animal")
    canvas.paint(tongue, (0.93, 0.40, 0.47), "animal")
    draw_mouth(canvas, -0.20)
    draw_nose(canvas, -0.09, 0.1, (0.08, 0.06, 0.06))


def draw_rabbit_snout(canvas: Canvas, batch: Batch) -> None:
    """Cheeks, a small nose and two teeth."""
    x, y = canvas.x, canvas.y
    canvas.paint(sdf.box(x, y + 0.27, 0.06, 0.07, 0.02), (1.0, 1.0, 0.98), "animal")
    canvas.paint(sdf.ellipse(x.abs() - 0.085, y + 0.17, 0.12, 0.09), paler(fur(batch)), "animal")
    draw_mouth(canvas, -0.16)
    draw_nose(canvas, -0.10, 0.055, (0.93, 0.45, 0.52))


def draw_bear_snout(canvas: Canvas, batch: Batch) -> None:
    """A broad pale muzzle and a large nose."""
    canvas.paint(sdf.ellipse(canvas.x, canvas.y + 0.15, 0.22, 0.165), paler(fur(batch)), "animal")
    draw_mouth(canvas, -0.18)
    draw_nose(canvas, -0.08, 0.105, (0.09, 0.06, 0.06))


def draw_fox_snout(canvas: Canvas, batch: Batch) -> None:
    """White cheeks running to a pointed chin."""
    x, y = canvas.x, canvas.y
    cheek = sdf.convex(x.abs(), y, (0.10, -0.03), (0.46, -0.02), (0.05, -0.42), (0.0, -0.25))
    canvas.paint(cheek - 0.01, (0.97, 0.95, 0.92), "animal")
    draw_mouth(canvas, -0.24)
    draw_nose(canvas, -0.17, 0.075, (0.08, 0.06, 0.06))


def draw_pig_snout(canvas: Canvas, batch: Batch) -> None:
    """A round snout with two nostrils."""
    x, y = canvas.x, canvas.y + 0.13
    colour = paler(fur(batch)) * canvas.colour((1.0, 0.72, 0.74))
    canvas.paint(sdf.ellipse(x, y, 0.22, 0.155), colour, "animal", tone=0.8 * y)
    canvas.paint(sdf.ellipse(x.abs() - 0.085, y, 0.04, 0.062), colour * 0.35, "animal")
    smile = sdf.common(sdf.circle(x, canvas.y + 0.16, 0.2).abs() - 0.018, canvas.y + 0.31)
    canvas.paint(smile, colour * 0.35, "animal")


def draw_cat_tail(canvas: Canvas, batch: Batch) -> None:
    """A tail curling up beside the body."""
    x, y = canvas.x - 0.42, canvas.y + 0.52
    arc = sdf.common(sdf.circle(x, y, 0.25).abs() - 0.065, -x - 0.02)
    canvas.paint(sdf.union(arc, sdf.circle(x, y - 0.25, 0.066)), fur(batch) * 0.8, "animal")


def draw_dog_tail(canvas: Canvas, batch: Batch) -> None:
    """A tail wagging upwards."""
    tail = sdf.capsule(canvas.x, canvas.y, (0.35, -0.7), (0.68, -0.3), 0.075)
    canvas.paint(tail, fur(batch) * 0.85, "animal")


def draw_fox_tail(canvas: Canvas, batch: Batch) -> None:
    """A bushy tail with a white tip."""
    tail = canvas.local(0.56, -0.45, 1.0, -0.35)
    shape = sdf.ellipse(tail.x, tail.y, 0.19, 0.42)
    tail.paint(shape, fur(batch), "animal", tone=-0.8 * tail.x - 0.12)
    tail.paint(sdf.common(shape, 0.16 - tail.y), (0.97, 0.95, 0.92), "animal")


def draw_rabbit_tail(canvas: Canvas, batch: Batch) -> None:
    """A round white tail."""
    canvas.paint(sdf.circle(canvas.x - 0.5, canvas.y + 0.68, 0.14), (0.98, 0.97, 0.95), "animal")


def draw_pig_tail(canvas: Canvas, batch: Batch) -> None:
    """A curly tail."""
    ring = sdf.circle(canvas.x - 0.55, canvas.y + 0.55, 0.09).abs() - 0.03
    canvas.paint(ring, fur(batch) * 0.8, "animal")


PLACES = {
    "meadow": draw_meadow,
    "beach": draw_beach,
    "snow": draw_snow,
    "night": draw_night,
    "desert": draw_desert,
}
EARS = {
    "cat": draw_cat_ears,
    "dog": draw_dog_ears,
    "rabbit": draw_rabbit_ears,
    "bear": draw_bear_ears,
    "fox": draw_fox_ears,
    "pig": draw_pig_ears,
}
SNOUTS = {
    "cat": draw_cat_snout,
    "dog": draw_dog_snout,
    "rabbit": draw_rabbit_snout,
    "bear": draw_bear_snout,
    "fox": draw_fox_snout,
    "pig": draw_pig_snout,
}
TAILS = {
    "cat": draw_cat_tail,
    "dog": draw_dog_tail,
    "rabbit": draw_rabbit_tail,
    "fox": draw_fox_tail,
    "pig": draw_pig_tail,
}
WHERE = {
    "meadow": "in a meadow",
    "beach": "on the beach",
    "snow": "in the snow",
    "night": "at night",
    "desert": "in the desert",
}


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the animal, the full one first."""
    v = scene.attributes
    animal, place = a(f"{v['colour']} {v['kind']}"), WHERE[v["place"]]
    scarf = a(f"{v['scarf']} scarf") if v["scarf"] != "none" else ""
    dressed = f"with {scarf}" if scarf else ""
    wearing = f"wearing {scarf}" if scarf else ""
    full = ("colour", "kind", "scarf", "place")
    return [
        caption(scene, f"{animal} {dressed} {place}", *full),
        caption(scene, f"{place}, {animal} {dressed}", *full),
        caption(scene, f"{animal} {wearing} sitting {place}", *full),
        caption(scene, animal, "colour", "kind"),
        caption(scene, f"{animal} sitting {place}", "colour", "kind", "place"),
        caption(scene, f"{a(v['kind'])} {place}", "kind", "place"),
    ]


FAMILY = Family("animals", ATTRIBUTES, JITTER, sample, draw, captions)
