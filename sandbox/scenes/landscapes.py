"""Wide views of land and water at different hours and in different weather."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from sandbox.scenes import canvas as sdf
from sandbox.scenes import sky
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.colours import RGB
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where, listed

TERRAINS = ("mountains", "hills", "desert", "forest", "sea", "lake", "snowfield")
WEATHERS = ("clear", "cloudy", "rainy", "snowy")
ATTRIBUTES = {
    "terrain": TERRAINS,
    "time": sky.TIMES,
    "weather": WEATHERS,
    "sun": ("none", "left", "right"),
    "thing": ("none", "house", "tree", "boat"),
    "balloon": ("none", "red", "yellow", "purple"),
}
JITTER = {
    "sun_x": (0.42, 0.72),
    "sun_y": (-0.05, 0.08),
    "sway": (-1, 1),
    "lift": (-1, 1),
    "phase": (0, 6.28),
    "high": (-1, 1),
    "thing_x": (0.2, 0.5),
    "balloon_y": (0.42, 0.55),
}
SIDES = {"none": 0.0, "left": -1.0, "right": 1.0}


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot; the desert stays dry and boats stay on water."""
    terrain = rng.choice(TERRAINS)
    weather = rng.choice(WEATHERS[:2] if terrain == "desert" else WEATHERS)
    sun = rng.choice(("left", "right")) if weather in ("clear", "cloudy") else "none"
    thing = rng.choice(("none", "boat") if terrain in ("sea", "lake") else ("none", "house", "tree"))
    return {
        "terrain": terrain,
        "time": rng.choice(sky.TIMES),
        "weather": weather,
        "sun": sun,
        "thing": thing,
        "balloon": rng.choice(ATTRIBUTES["balloon"]),
    }


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw the sky, the land, what stands on it and the weather before it."""
    sky.draw_sky(canvas, batch)
    night, clear = batch.having("time", "night"), batch.having("weather", "clear", "cloudy")
    draw_where(night & clear, canvas, batch, sky.draw_stars)
    draw_where(clear, canvas, batch, draw_sun)
    draw_where(batch.having("weather", "cloudy"), canvas, batch, draw_clouds)
    draw_where(~clear, canvas, batch, sky.draw_cover)
    for terrain, draw_terrain in DRAWINGS.items():
        draw_where(batch.having("terrain", terrain), canvas, batch, draw_terrain)
    draw_where(batch.having("thing", "house"), canvas, batch, draw_house)
    draw_where(batch.having("thing", "tree"), canvas, batch, draw_tree)
    draw_where(batch.having("thing", "boat"), canvas, batch, draw_boat)
    draw_where(~batch.having("balloon", "none"), canvas, batch, draw_balloon)
    sky.draw_fall(canvas, batch)


def sun_place(batch: Batch) -> tuple[Tensor, Tensor]:
    """Where the sun or the moon stands, (B, 1, 1) each."""
    height = batch.number("time", {"day": 0.66, "sunset": 0.24, "night": 0.66})
    return batch["sun_x"] * batch.number("sun", SIDES), height + batch["sun_y"]


def draw_sun(canvas: Canvas, batch: Batch) -> None:
    """The sun on its side of the sky."""
    sky.draw_sun(canvas, batch, *sun_place(batch))


def draw_clouds(canvas: Canvas, batch: Batch) -> None:
    """Three clouds with shaded bases that leave the sun free."""
    part = canvas.window(-1, 1, 0.0, 1)
    third = batch.number("time", {"day": 0.28, "sunset": 0.80, "night": 0.28})
    places = ((-0.62, 0.72, 1.0), (-0.35, 0.32, 0.8), (0.68, third, 0.8))
    for x, y, scale in places:
        drift = x + 0.1 * batch["sway"]
        cloud = part.local(drift * batch.number("sun", SIDES), y + 0.04 * batch["lift"], scale)
        draw_cloud(cloud, batch)


def draw_cloud(canvas: Canvas, batch: Batch) -> None:
    """A cloud of about unit width with a flat base."""
    x, y = canvas.x, canvas.y
    puff = sdf.circle(x + 0.02, y - 0.05, 0.19)
    puff = sdf.smooth_union(puff, sdf.circle(x + 0.24, y + 0.02, 0.13), 0.08)
    puff = sdf.smooth_union(puff, sdf.circle(x - 0.24, y + 0.01, 0.14), 0.08)
    puff = sdf.smooth_union(puff, sdf.box(x, y + 0.07, 0.42, 0.07, 0.07), 0.08)
    tone = 0.5 * (y - 0.2).clamp(-0.4, 0)
    canvas.paint(puff, batch.colour("time", sky.CLOUD), opacity=0.95, blur=0.03, tone=tone)


def ground(canvas: Canvas, batch: Batch, colour: RGB, haze: float = 0.0) -> Tensor:
    """A ground colour in the light of the hour, ``haze`` of it lost to the air, (B, 3, 1, 1)."""
    _, horizon = sky.sky_colours(batch)
    return sdf.mix(canvas.colour(colour) * sky.ambient(batch) * batch.tint, horizon, haze)


def draw_layer(
    canvas: Canvas, batch: Batch, height: Tensor, colour: RGB, name: str, haze: float = 0.0
) -> None:
    """Land below ``height``, a line over x, paler at its crest's foot."""
    depth = canvas.y - height
    tone = (depth * 0.55).clamp(-0.28, 0.0) + 0.08
    canvas.paint(depth, ground(canvas, batch, colour, haze), name, tone=tone)


def crest(canvas: Canvas, batch: Batch, level: float, swing: float, length: float, turn: float) -> Tensor:
    """The skyline of a layer of land, (B, 1, W)."""
    return level + swing * sky.wave(canvas.x, length, batch["phase"] * turn + 3 * turn)


def draw_mountains(canvas: Canvas, batch: Batch) -> None:
    """Three peaks with snow, lit from the left, behind a meadow."""
    part = canvas.window(-1, 1, -0.6, 0.7)
    peaks = ((0.62, 0.28, 0.55, 0.30), (-0.68, 0.34, 0.62, 0.18), (-0.02, 0.52, 0.78, 0.0))
    for x, top, width, haze in peaks:
        mountain = part.local(x + 0.14 * batch["sway"], top + 0.08 * batch["high"])
        draw_peak(mountain, batch, width, haze)
    low = canvas.window(-1, 1, -1, 0.0)
    draw_layer(low, batch, crest(low, batch, -0.28, 0.05, 2.6, 1), (0.25, 0.47, 0.26), "grass", 0.15)
    draw_layer(low, batch, crest(low, batch, -0.55, 0.06, 2.2, 2), (0.33, 0.60, 0.24), "grass")


def draw_peak(canvas: Canvas, batch: Batch, width: float, haze: float) -> None:
    """A mountain with its top at the origin."""
    bend = 0.06 * torch.sin(canvas.y * 9 + batch["phase"])
    slope = canvas.x.abs() * (0.95 / width) + canvas.y
    body = slope * 0.7
    shade = -0.28 * ((canvas.x - bend) * 14).clamp(-0.4, 1.0)
    canvas.paint(body, ground(canvas, batch, (0.46, 0.48, 0.56), haze), "mountain", tone=shade)
    line = -0.24 - 0.07 * torch.sin(canvas.x * 17 + batch["phase"]) - canvas.y
    cap = sdf.common(body, line)
    snow = ground(canvas, batch, (0.97, 0.98, 1.0), haze * 0.6)
    canvas.paint(cap, snow, "mountain", blur=0.02, tone=shade * 0.6)


def draw_hills(canvas: Canvas, batch: Batch) -> None:
    """Four rows of green hills fading into the distance."""
    part = canvas.window(-1, 1, -1, 0.35)
    rows = (
        (0.10, 0.12, 1.5, 0.55),
        (-0.12, 0.13, 1.9, 0.32),
        (-0.38, 0.13, 2.3, 0.12),
        (-0.72, 0.10, 2.0, 0.0),
    )
    greens = ((0.34, 0.56, 0.36), (0.33, 0.60, 0.28), (0.36, 0.66, 0.24), (0.28, 0.56, 0.18))
    for index, ((level, swing, length, haze), green) in enumerate(zip(rows, greens, strict=True)):
        line = crest(part, batch, level, swing, length, index + 1)
        draw_layer(part, batch, line, green, "grass", haze)


def draw_desert(canvas: Canvas, batch: Batch) -> None:
    """Dunes and a cactus."""
    part = canvas.window(-1, 1, -1, 0.25)
    draw_layer(part, batch, crest(part, batch, -0.02, 0.10, 1.9, 1), (0.93, 0.74, 0.46), "sand", 0.3)
    draw_layer(part, batch, crest(part, batch, -0.3, 0.13, 2.4, 2), (0.92, 0.70, 0.38), "sand", 0.08)
    draw_layer(part, batch, crest(part, batch, -0.68, 0.10, 2.8, 3), (0.88, 0.62, 0.30), "sand")
    cactus = canvas.local(-0.6 - 0.1 * batch["sway"], -0.35, 1.1)
    x, y = cactus.x, cactus.y
    trunk = sdf.capsule(x, y, (0.0, -0.3), (0.0, 0.3), 0.075)
    left = sdf.capsule(x, y, (-0.2, 0.0), (-0.2, 0.16), 0.055)
    right = sdf.capsule(x, y, (0.2, -0.08), (0.2, 0.1), 0.055)
    arms = sdf.union(left, right, sdf.capsule(x, y, (-0.2, 0.0), (0.0, -0.08), 0.05))
    arms = sdf.union(arms, sdf.capsule(x, y, (0.2, -0.08), (0.0, -0.16), 0.05))
    green = ground(canvas, batch, (0.22, 0.50, 0.25))
    cactus.paint(sdf.union(trunk, arms), green, "tree", tone=-1.5 * (x.clamp(-0.1, 0.1)))


def draw_forest(canvas: Canvas, batch: Batch) -> None:
    """Three rows of firs, the far ones pale."""
    rows = ((0.0, 0.40, 0.5), (-0.22, 0.54, 0.22), (-0.52, 0.74, 0.0))
    for index, (foot, height, haze) in enumerate(rows):
        part = canvas.window(-1, 1, -1, foot + height + 0.15)
        line = foot + 0.03 * sky.wave(part.x, 1.7, batch["phase"] * (index + 1))
        draw_layer(part, batch, line, (0.22, 0.46, 0.22), "grass", haze)
        draw_firs(part, batch, foot, height, haze, index)


def draw_firs(canvas: Canvas, batch: Batch, foot: float, height: float, haze: float, row: int) -> None:
    """A row of firs of about ``height`` standing at ``foot``."""
    step = height * 0.62
    shifted = canvas.x + 0.5 * step * batch["sway"] + 0.37 * row * step
    cell = torch.floor(shifted / step)
    x = shifted - (cell + 0.5) * step
    y = (canvas.y - foot) / (1 + 0.16 * torch.sin(cell * 2.7 + batch["phase"]))
    fir = None
    for base, top, width in ((0.0, 0.62, 0.30), (0.27, 0.82, 0.24), (0.52, 1.0, 0.18)):
        w, low, high = width * height, base * height, top * height
        tier = sdf.convex(x, y, (0.0, high), (w, low), (-w, low))
        fir = tier if fir is None else sdf.union(fir, tier)
    colour = ground(canvas, batch, (0.10, 0.36, 0.20), haze)
    canvas.paint(fir, colour, "tree", tone=-1.2 * x / height + 0.15 * y)


def draw_water(canvas: Canvas, batch: Batch, horizon: float) -> None:
    """Water that reflects the sky and the sun below the horizon."""
    top, low = sky.sky_colours(batch)
    part = canvas.window(-1, 1, -1, horizon + 0.05)
    depth = ((horizon - part.y) / (horizon + 1)).clamp(0, 1)
    tone = 0.08 * torch.sin(torch.sqrt(depth + 0.02) * 42 + 1.2 * sky.wave(part.x, 1.1, batch["phase"]))
    blue = ground(canvas, batch, (0.10, 0.42, 0.66))
    deep = sdf.mix(sdf.mix(top, low, 0.35), blue, 0.45 + 0.5 * depth.unsqueeze(1))
    part.paint(part.y - horizon, deep, "sea", tone=tone)
    shine = torch.exp(-(((part.x - sun_place(batch)[0]) / (0.10 + 0.16 * depth)) ** 2))
    bright = batch.having("weather", "clear", "cloudy").view(-1, 1, 1) * (part.y < horizon)
    weight = shine * bright * (0.55 + 4 * tone) * (1 - 0.5 * depth)
    part.light(weight.clamp(0, 1), batch.colour("time", sky.DISC))


def draw_sea(canvas: Canvas, batch: Batch) -> None:
    """The open sea before a beach."""
    draw_water(canvas, batch, -0.05)
    part = canvas.window(-1, 1, -1, -0.5)
    line = -0.74 + 0.05 * sky.wave(part.x, 2.4, batch["phase"])
    part.paint(part.y - line - 0.05, (1.0, 1.0, 1.0), opacity=0.45, blur=0.03)
    draw_layer(part, batch, line, (0.94, 0.82, 0.56), "sand")


def draw_lake(canvas: Canvas, batch: Batch) -> None:
    """A lake between wooded hills and a meadow."""
    part = canvas.window(-1, 1, -0.5, 0.4)
    draw_layer(part, batch, crest(part, batch, 0.14, 0.10, 1.7, 1), (0.38, 0.52, 0.50), "mountain", 0.4)
    draw_layer(part, batch, crest(part, batch, 0.0, 0.06, 1.3, 2), (0.22, 0.46, 0.24), "grass", 0.12)
    draw_water(canvas, batch, -0.12)
    low = canvas.window(-1, 1, -1, -0.1)
    side = 0.55 * (low.x.abs() - 0.2).clamp(min=0) ** 2
    line = -0.78 + side + 0.03 * sky.wave(low.x, 1.4, batch["phase"])
    draw_layer(low, batch, line, (0.36, 0.62, 0.24), "grass")


def draw_snowfield(canvas: Canvas, batch: Batch) -> None:
    """White slopes with a few firs."""
    part = canvas.window(-1, 1, -1, 0.3)
    draw_layer(part, batch, crest(part, batch, 0.05, 0.10, 1.8, 1), (0.80, 0.86, 0.95), "snow", 0.25)
    draw_layer(part, batch, crest(part, batch, -0.2, 0.10, 2.3, 2), (0.88, 0.92, 0.98), "snow", 0.08)
    for x, y, height in ((-0.72, -0.32, 0.5), (-0.42, -0.38, 0.38)):
        fir = canvas.window(-1, 0, -0.5, 0.4).local(x + 0.08 * batch["sway"], y, height)
        draw_fir(fir, batch)
    draw_layer(part, batch, crest(part, batch, -0.55, 0.10, 2.6, 3), (0.96, 0.97, 1.0), "snow")


def draw_fir(canvas: Canvas, batch: Batch) -> None:
    """One fir of unit height with snow on it."""
    x, y = canvas.x, canvas.y
    green, white = (
        ground(canvas, batch, (0.12, 0.36, 0.26)),
        ground(canvas, batch, (0.95, 0.97, 1.0)),
    )
    for base, top, width in ((0.0, 0.62, 0.36), (0.3, 0.84, 0.28), (0.58, 1.05, 0.2)):
        tier = sdf.convex(x, y, (0.0, top), (width, base), (-width, base))
        canvas.paint(tier, green, "tree")
        canvas.paint(sdf.common(tier, base + 0.2 - 0.3 * x - y), white, "tree")


def thing_frame(canvas: Canvas, batch: Batch, y: float) -> Canvas:
    """The frame of what stands in the landscape, away from the sun's side."""
    side = torch.where(batch.number("sun", SIDES) > 0, -0.45, 1.0)
    return canvas.window(-0.75, 1, -0.95, 0.4).local(batch["thing_x"] * side, y)


def draw_house(canvas: Canvas, batch: Batch) -> None:
    """A small house with a red roof; its windows are lit at night."""
    part = thing_frame(canvas, batch, -0.52)
    x, y = part.x, part.y
    part.paint(
        sdf.box(x, y, 0.25, 0.19),
        ground(canvas, batch, (0.97, 0.93, 0.84)),
        "building",
        tone=-0.5 * x,
    )
    roof = sdf.convex(x, y, (0.0, 0.45), (0.35, 0.17), (-0.35, 0.17))
    part.paint(roof, ground(canvas, batch, (0.78, 0.24, 0.18)), "building", tone=-0.6 * x)
    part.paint(
        sdf.box(x + 0.09, y + 0.07, 0.06, 0.12),
        ground(canvas, batch, (0.42, 0.26, 0.16)),
        "building",
    )
    glass = batch.colour(
        "time", {"day": (0.45, 0.62, 0.78), "sunset": (1.0, 0.8, 0.4), "night": (1.0, 0.85, 0.4)}
    )
    part.paint(sdf.box(x - 0.12, y - 0.01, 0.07, 0.07), glass, "window")


def draw_tree(canvas: Canvas, batch: Batch) -> None:
    """A broad tree in the foreground."""
    part = thing_frame(canvas, batch, -0.4)
    x, y = part.x, part.y
    trunk = sdf.box(x, y + 0.12, 0.055, 0.28)
    part.paint(trunk, ground(canvas, batch, (0.42, 0.27, 0.16)), "tree")
    crown = sdf.circle(x, y - 0.32, 0.27)
    crown = sdf.smooth_union(crown, sdf.circle(x + 0.2, y - 0.18, 0.2), 0.1)
    crown = sdf.smooth_union(crown, sdf.circle(x - 0.2, y - 0.2, 0.2), 0.1)
    green = ground(canvas, batch, (0.22, 0.56, 0.20))
    part.paint(crown, green, "tree", tone=0.5 * (y - 0.28) - 0.5 * x)


def draw_boat(canvas: Canvas, batch: Batch) -> None:
    """A sailing boat on the water."""
    part = thing_frame(canvas, batch, -0.3)
    x, y = part.x, part.y
    hull = sdf.convex(x, y, (-0.3, 0.04), (0.3, 0.04), (0.19, -0.12), (-0.2, -0.12))
    part.paint(hull, ground(canvas, batch, (0.72, 0.22, 0.16)), "boat", tone=0.8 * y)
    part.paint(sdf.box(x + 0.01, y - 0.26, 0.02, 0.24), ground(canvas, batch, (0.4, 0.28, 0.2)), "boat")
    white = ground(canvas, batch, (0.98, 0.97, 0.93))
    part.paint(sdf.convex(x, y, (0.03, 0.5), (0.27, 0.1), (0.03, 0.1)), white, "boat", tone=-0.6 * x)
    part.paint(sdf.convex(x, y, (-0.04, 0.42), (-0.04, 0.1), (-0.22, 0.1)), white * 0.92, "boat")


def draw_balloon(canvas: Canvas, batch: Batch) -> None:
    """A hot air balloon in the middle of the sky."""
    part = canvas.window(-0.5, 0.5, 0.0, 0.9).local(0.14 * batch["lift"], batch["balloon_y"])
    x, y = part.x, part.y
    colour = sky.painted(batch.colour("balloon"), batch)
    basket = sky.painted(canvas.colour((0.50, 0.34, 0.18)), batch)
    part.paint(sdf.box(x, y + 0.33, 0.06, 0.05), basket, "balloon")
    envelope = sdf.smooth_union(sdf.circle(x, y, 0.22), sdf.box(x, y + 0.2, 0.06, 0.06), 0.16)
    part.paint(envelope, colour, "balloon", tone=0.7 * y - 0.9 * x)
    stripe = sdf.common(envelope, sdf.ellipse(x, y, 0.07, 0.4))
    pale = sky.painted(canvas.colour((0.98, 0.95, 0.88)), batch)
    part.paint(stripe, pale, "balloon", opacity=0.8)


DRAWINGS = {
    "mountains": draw_mountains,
    "hills": draw_hills,
    "desert": draw_desert,
    "forest": draw_forest,
    "sea": draw_sea,
    "lake": draw_lake,
    "snowfield": draw_snowfield,
}
PLURAL = ("mountains", "hills")
SKIES = {
    "clear": "under a clear sky",
    "cloudy": "under a cloudy sky",
    "rainy": "in the rain",
    "snowy": "in falling snow",
}
HOURS = {"day": "by day", "sunset": "at sunset", "night": "at night"}


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the landscape, the full one first."""
    v = scene.attributes
    place = v["terrain"] if v["terrain"] in PLURAL else a(v["terrain"])
    if v["terrain"] == "sea":
        place = "the sea"
    hour, weather = HOURS[v["time"]], SKIES[v["weather"]]
    disc = "moon" if v["time"] == "night" else "sun"
    things = [a(v["thing"])] if v["thing"] != "none" else []
    things += [a(f"{v['balloon']} balloon")] if v["balloon"] != "none" else []
    extras = f"with {listed(things)}" if things else ""
    sun = f", the {disc} on the {v['sun']}" if v["sun"] != "none" else ""
    full = ("terrain", "time", "weather", "sun", "thing", "balloon")
    return [
        caption(scene, f"{place} {hour} {weather} {extras}{sun}", *full),
        caption(scene, f"{a(v['weather'])} {v['time']}, {place} {extras}{sun}", *full),
        caption(scene, f"{place} {extras} {hour} {weather}{sun}", *full),
        caption(scene, f"{place} {hour}", "terrain", "time"),
        caption(scene, f"{place} {extras}", "terrain", "thing", "balloon"),
        caption(scene, f"{place} {hour} {weather}", "terrain", "time", "weather"),
    ]


FAMILY = Family("landscapes", ATTRIBUTES, JITTER, sample, draw, captions)
