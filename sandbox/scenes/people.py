"""Head and shoulders of a man or a woman."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from sandbox.scenes import canvas as sdf
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.colours import HAIR, SKIN
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where, listed

ATTRIBUTES = {
    "kind": ("man", "woman"),
    "hair_colour": tuple(HAIR),
    "hair_length": ("short", "long"),
    "shirt": ("red", "green", "blue", "yellow", "purple", "white", "black"),
    "glasses": ("no", "yes"),
    "hat": ("none", "red", "green", "blue", "black"),
    "beard": ("no", "yes"),
    "background": ("red", "green", "blue", "yellow", "white", "gray", "pink"),
}
JITTER = {
    "x": (-0.08, 0.08),
    "y": (-0.05, 0.05),
    "grow": (0.96, 1.06),
    "tilt": (-0.06, 0.06),
    "skin": (0.0, 3.999),
    "face": (-0.02, 0.02),
    "smile": (-0.02, 0.03),
    "eyes": (0.0, 1.0),
}


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot; men have short hair and only men have beards."""
    man = rng.random() < 0.5
    shirt, background = rng.choice(
        [(s, b) for s in ATTRIBUTES["shirt"] for b in ATTRIBUTES["background"] if s != b]
    )
    hats = [hat for hat in ATTRIBUTES["hat"][1:] if hat != background]
    return {
        "kind": "man" if man else "woman",
        "hair_colour": rng.choice(tuple(HAIR)),
        "hair_length": "short" if man else rng.choice(("short", "long")),
        "shirt": shirt,
        "glasses": rng.choice(("no", "yes")),
        "hat": rng.choice(hats) if rng.random() < 0.4 else "none",
        "beard": rng.choice(("no", "yes")) if man else "no",
        "background": background,
    }


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw the background and the person from back to front."""
    glow = 0.12 - 0.12 * (canvas.x**2 + (canvas.y - 0.2) ** 2)
    canvas.fill(batch.colour("background"), "background", glow)
    woman = batch.having("kind", "woman")
    back = bust_frame(canvas.window(-0.66, 0.66, -0.95, 0.85), batch)
    draw_where(batch.having("hair_length", "long"), back, batch, draw_long_hair)
    draw_where(woman & batch.having("hair_length", "short"), back, batch, draw_bob)
    draw_shoulders(bust_frame(canvas.window(-1, 1, -1, 0.1), batch), batch)
    head = head_frame(canvas.window(-0.72, 0.72, -0.55, 1), batch)
    draw_head(head, batch)
    face = head_frame(canvas.window(-0.54, 0.54, -0.55, 0.45), batch)
    draw_where(batch.having("beard", "yes"), face, batch, draw_beard)
    draw_face(face, batch)
    draw_where(woman, head, batch, draw_parted_hair)
    draw_where(~woman, head, batch, draw_short_hair)
    draw_where(batch.having("glasses", "yes"), face, batch, draw_glasses)
    draw_where(~batch.having("hat", "none"), head, batch, draw_hat)


def bust_frame(canvas: Canvas, batch: Batch) -> Canvas:
    """The frame of the whole person."""
    return canvas.local(batch["x"], batch["y"] - 0.02, batch["grow"])


def head_frame(canvas: Canvas, batch: Batch) -> Canvas:
    """The frame of the head, about its middle."""
    return bust_frame(canvas, batch).local(0.0, 0.12, 1.0, batch["tilt"])


def skin(batch: Batch) -> Tensor:
    """Skin colour of every person, (B, 3, 1, 1)."""
    tones = torch.tensor(SKIN, device=batch.tint.device)
    place = batch["skin"].flatten()
    low = place.long()
    colour = torch.lerp(tones[low], tones[low + 1], (place - low).unsqueeze(1))
    return colour.view(-1, 3, 1, 1)


def draw_long_hair(canvas: Canvas, batch: Batch) -> None:
    """Hair falling behind the shoulders."""
    top = sdf.ellipse(canvas.x, canvas.y - 0.18, 0.47, 0.52)
    fall = sdf.box(canvas.x, canvas.y + 0.28, 0.5, 0.46, 0.2)
    hair = sdf.smooth_union(top, fall, 0.15)
    tone = -0.25 * (canvas.x / 0.5) ** 2 - 0.1
    canvas.paint(hair, batch.colour("hair_colour", HAIR), "hair", tone=tone)


def draw_bob(canvas: Canvas, batch: Batch) -> None:
    """Hair down to the chin."""
    hair = sdf.ellipse(canvas.x, canvas.y - 0.16, 0.48, 0.52)
    hair = sdf.smooth_union(hair, sdf.box(canvas.x, canvas.y - 0.0, 0.47, 0.24, 0.16), 0.1)
    canvas.paint(hair, batch.colour("hair_colour", HAIR), "hair", tone=0.3 * canvas.y - 0.15)


def draw_shoulders(canvas: Canvas, batch: Batch) -> None:
    """Neck and shirt."""
    x, y = canvas.x, canvas.y
    width = batch.number("kind", {"man": 0.80, "woman": 0.66})
    shirt = sdf.box(x, y + 1.25, width, 0.72, 0.38)
    shirt = sdf.smooth_union(shirt, sdf.box(x, y + 0.62, 0.24, 0.1, 0.06), 0.22)
    tone = -0.22 * x - 0.22 * x * x + 0.25 * (y + 0.7)
    canvas.paint(shirt, batch.colour("shirt"), "clothes", tone=tone)
    neck = sdf.union(sdf.box(x, y + 0.38, 0.15, 0.22), sdf.ellipse(x, y + 0.55, 0.19, 0.11))
    canvas.paint(neck, skin(batch), "person", tone=-0.12 - 0.1 * x + 0.35 * (y + 0.25).clamp(-0.5, -0.1))


def draw_head(canvas: Canvas, batch: Batch) -> None:
    """Head and ears, lit from the left."""
    x, y = canvas.x, canvas.y
    colour = skin(batch)
    ears = sdf.ellipse(x.abs() - 0.37, y + 0.02, 0.075, 0.11)
    canvas.paint(ears, colour, "person", tone=-0.12)
    man = batch.number("kind", {"man": 1.0, "woman": 0.0})
    oval = sdf.ellipse(x, y + 0.02, 0.365 + batch["face"], 0.455)
    jaw = sdf.box(x, y + 0.2, 0.25 + 0.04 * man, 0.22, 0.17)
    tone = -0.30 * x.clamp(min=0) - 0.35 * x * x + 0.12 * y
    canvas.paint(sdf.smooth_union(oval, jaw, 0.1), colour, "person", tone=tone)
    cheeks = torch.exp(-(((x.abs() - 0.2) / 0.1) ** 2) - ((y + 0.13) / 0.08) ** 2)
    canvas.light(cheeks * 0.22, (0.95, 0.35, 0.32))


def draw_beard(canvas: Canvas, batch: Batch) -> None:
    """A full beard around the mouth."""
    x, y = canvas.x, canvas.y
    chin = sdf.ellipse(x, y + 0.14, 0.385, 0.40)
    cheek_line = -0.03 - 0.8 * (0.36 - x.abs()).clamp(0, 0.17)
    beard = sdf.common(chin, y - cheek_line)
    moustache = sdf.box(x, y + 0.16, 0.17, 0.05, 0.05)
    colour = batch.colour("hair_colour", HAIR)
    canvas.paint(sdf.union(beard, moustache), colour * 0.8, "hair", tone=0.25 * (y + 0.2) - 0.2 * x)


def draw_face(canvas: Canvas, batch: Batch) -> None:
    """Eyes, brows, nose and mouth."""
    x, y = canvas.x, canvas.y
    draw_eyes(canvas, batch)
    nose = torch.exp(-(((x - 0.045) / 0.035) ** 2) - ((y + 0.04) / 0.10) ** 2)
    canvas.light(nose * 0.35, skin(batch) * 0.5)
    tip = sdf.ellipse(x, y + 0.105, 0.06, 0.035)
    canvas.paint(tip, skin(batch) * 0.72, "person", opacity=0.75, blur=0.03)
    woman = batch.having("kind", "woman").view(-1, 1, 1, 1)
    lips = torch.where(
        woman, canvas.colour((0.80, 0.12, 0.20)), skin(batch) * canvas.colour((0.6, 0.38, 0.36))
    )
    smile = (0.05 + batch["smile"]) / 0.02
    curve = y + 0.24 - smile * x * x
    thick = batch.number("kind", {"man": 0.026, "woman": 0.042})
    mouth = sdf.common(curve.abs() - thick * (1.1 - (x / 0.15).abs().clamp(max=1) ** 2), x.abs() - 0.14)
    canvas.paint(mouth, lips, "person")


def draw_eyes(canvas: Canvas, batch: Batch) -> None:
    """Eyes and brows, mirrored about the middle of the face."""
    part_x, y = canvas.x.abs() - 0.155, canvas.y - 0.045
    white = sdf.ellipse(part_x, y, 0.085, 0.058)
    lash = batch.number("kind", {"man": 0.012, "woman": 0.026})
    canvas.paint(sdf.ellipse(part_x, y - lash, 0.095, 0.062), (0.12, 0.08, 0.08), "person")
    canvas.paint(white, (0.98, 0.98, 0.97), "person")
    iris = canvas.colour((0.20, 0.42, 0.66)) * batch["eyes"].unsqueeze(1)
    iris = iris + canvas.colour((0.30, 0.17, 0.08)) * (1 - batch["eyes"].unsqueeze(1))
    canvas.paint(sdf.circle(part_x, y, 0.05), iris, "person")
    canvas.paint(sdf.circle(part_x, y, 0.026), (0.03, 0.03, 0.04), "person")
    thick = batch.number("kind", {"man": 0.023, "woman": 0.017})
    brow = sdf.capsule(part_x, y, (-0.085, 0.128), (0.085, 0.112), thick)
    canvas.paint(brow, batch.colour("hair_colour", HAIR) * 0.65, "person")


def draw_parted_hair(canvas: Canvas, batch: Batch) -> None:
    """A woman's hair over the forehead and along the temples."""
    x, y = canvas.x, canvas.y
    cap = sdf.ellipse(x, y - 0.05, 0.45, 0.50)
    opening = sdf.ellipse(x - 0.05, y + 0.20, 0.345, 0.52)
    hair = sdf.common(sdf.common(cap, -opening), -0.25 - y)
    tone = 0.18 * torch.exp(-(((y - 0.36 + 0.5 * x * x) / 0.08) ** 2)) - 0.2 * x
    canvas.paint(hair, batch.colour("hair_colour", HAIR), "hair", tone=tone)


def draw_short_hair(canvas: Canvas, batch: Batch) -> None:
    """A man's short hair."""
    x, y = canvas.x, canvas.y
    cap = sdf.ellipse(x, y - 0.10, 0.405, 0.42)
    line = 0.27 - 2.2 * (x.abs() - 0.26).clamp(min=0) - y + 0.05 * x
    hair = sdf.common(sdf.common(cap, line), 0.06 - y)
    tone = 0.18 * torch.exp(-(((y - 0.4 + 0.4 * x * x) / 0.07) ** 2)) - 0.2 * x
    canvas.paint(hair, batch.colour("hair_colour", HAIR), "hair", tone=tone)


def draw_glasses(canvas: Canvas, batch: Batch) -> None:
    """Round glasses with a thick black frame."""
    x, y = canvas.x.abs(), canvas.y - 0.04
    lens = sdf.box(x - 0.17, y, 0.135, 0.115, 0.1)
    canvas.paint(lens, (0.85, 0.93, 1.0), opacity=0.25)
    bridge = sdf.box(x, y - 0.03, 0.06, 0.022)
    arms = sdf.box(x - 0.335, y - 0.03, 0.05, 0.022)
    canvas.paint(sdf.union(lens.abs() - 0.026, bridge, arms), (0.06, 0.06, 0.07), "glasses")


def draw_hat(canvas: Canvas, batch: Batch) -> None:
    """A hat with a brim and a dark band."""
    x, y = canvas.x, canvas.y
    colour = batch.colour("hat")
    crown = sdf.box(x, y - 0.50, 0.34, 0.24, 0.14)
    canvas.paint(crown, colour, "hat", tone=-0.4 * x + 0.2 * (y - 0.5))
    band = sdf.common(crown, (y - 0.36).abs() - 0.055)
    canvas.paint(band, sdf.mix(colour, canvas.colour((0.95, 0.92, 0.85)), 0.75), "hat")
    brim = sdf.ellipse(x, y - 0.29 - 0.12 * x * x, 0.58, 0.075)
    canvas.paint(brim, colour, "hat", tone=-0.15 - 0.3 * x)


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the person, the full one first."""
    v = scene.attributes
    hair = f"{v['hair_length']} {v['hair_colour']} hair"
    shirt, background = a(f"{v['shirt']} shirt"), f"on {a(v['background'])} background"
    beard = ["a beard"] if v["beard"] == "yes" else []
    extras = ["glasses"] if v["glasses"] == "yes" else []
    extras += [a(f"{v['hat']} hat")] if v["hat"] != "none" else []
    kind, who = a(v["kind"]), ("kind", "hair_length", "hair_colour")
    looks = ("beard", "glasses", "hat")
    full = (*who, *looks, "shirt", "background")
    worn, grown = listed([*extras, shirt]), listed([hair, *beard])
    extras = [*beard, *extras]
    return [
        caption(scene, f"{kind} with {listed([hair, *extras, shirt])} {background}", *full),
        caption(scene, f"{background}, {kind} with {grown} wearing {worn}", *full),
        caption(scene, f"{kind} in {shirt} with {listed([*extras, hair])} {background}", *full),
        caption(scene, f"{kind} with {hair}", *who),
        caption(scene, f"{kind} with {listed([*extras, hair])}", *who, *looks),
        caption(scene, f"{kind} in {shirt} {background}", "kind", "shirt", "background"),
    ]


FAMILY = Family("people", ATTRIBUTES, JITTER, sample, draw, captions)
