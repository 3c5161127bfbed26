"""A street with a row of houses, a pavement and a road."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from sandbox.scenes import canvas as sdf
from sandbox.scenes import sky
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.colours import RGB
from sandbox.scenes.scene import Batch, Caption, Family, Scene, a, caption, draw_where, listed

CARS = ("red", "blue", "yellow", "white", "green", "black")
ATTRIBUTES = {
    "buildings": ("tall", "low"),
    "colour": ("red", "gray", "yellow", "blue", "brown", "white", "pink"),
    "time": sky.TIMES,
    "weather": ("clear", "rainy", "snowy"),
    "trees": ("no", "yes"),
    "car": ("none", *CARS),
}
JITTER = {
    "sway": (-1, 1),
    "lift": (-1, 1),
    "phase": (0, 6.28),
    "sun_x": (-0.7, 0.7),
    "car_x": (-0.28, 0.28),
    "side": (-1, 1),
}
GLASS: dict[str, RGB] = {
    "day": (0.38, 0.52, 0.66),
    "sunset": (0.55, 0.36, 0.36),
    "night": (1.0, 0.84, 0.38),
}
EDGES = (-1.02, -0.36, 0.3, 1.02)


def sample(rng: random.Random) -> dict[str, str]:
    """Draw attributes by lot."""
    return {name: rng.choice(values) for name, values in ATTRIBUTES.items()}


def draw(canvas: Canvas, batch: Batch) -> None:
    """Draw the sky, the houses, the ground and what stands on it."""
    sky.draw_sky(canvas, batch, -0.3)
    clear = batch.having("weather", "clear")
    draw_where(clear & batch.having("time", "night"), canvas, batch, sky.draw_stars)
    draw_where(clear, canvas, batch, draw_sun)
    draw_where(~clear, canvas, batch, sky.draw_cover)
    draw_buildings(canvas, batch)
    draw_ground(canvas, batch)
    draw_where(batch.having("trees", "yes"), canvas, batch, draw_trees)
    draw_where(~batch.having("car", "none"), canvas, batch, draw_car)
    sky.draw_fall(canvas, batch)


def draw_sun(canvas: Canvas, batch: Batch) -> None:
    """Sun or moon above the roofs."""
    sky.draw_sun(canvas, batch, batch["sun_x"], 0.76)


def draw_buildings(canvas: Canvas, batch: Batch) -> None:
    """Three houses of different height."""
    tall = batch.number("buildings", {"tall": 0.54, "low": 0.12})
    colour = sky.painted(batch.colour("colour"), batch)
    for index, (left, right) in enumerate(zip(EDGES, EDGES[1:], strict=False)):
        top = tall + 0.09 * torch.sin(batch["phase"] + 2.2 * index)
        part = canvas.window(left - 0.05, right + 0.05, -0.5, 0.75)
        house = part.local((left + right) / 2, 0.0)
        shade = colour * (1.0, 0.86, 0.94)[index]
        draw_house(house, batch, (right - left) / 2 - 0.02, top, shade)


def draw_house(canvas: Canvas, batch: Batch, width: float, top: Tensor, colour: Tensor) -> None:
    """A house from the pavement up to ``top`` with two columns of windows."""
    x, y = canvas.x, canvas.y
    wall = sdf.common(x.abs() - width, y - top)
    canvas.paint(wall, colour, "building", tone=-0.22 * x + 0.12 * y)
    roof = sdf.common(x.abs() - width - 0.03, (y - top).abs() - 0.035)
    white = batch.having("weather", "snowy").view(-1, 1, 1, 1)
    snow = canvas.colour((0.93, 0.95, 0.98)) * sky.ambient(batch)
    canvas.paint(roof, torch.where(white, snow, colour * 0.62), "building")
    step = 0.31
    down = top - 0.19 - y
    row = torch.round(down / step).clamp(min=0)
    pane = sdf.box(x.abs() - 0.145, down - row * step, 0.085, 0.095)
    pane = sdf.common(pane, -0.20 - (top - 0.19 - row * step))
    glass = batch.colour("time", GLASS)
    canvas.paint(pane - 0.022, colour * 0.55, "building")
    canvas.paint(pane, glass, "window", tone=-0.8 * (down - row * step))


def draw_ground(canvas: Canvas, batch: Batch) -> None:
    """Pavement, kerb and a road with a dashed line."""
    light = sky.ambient(batch)
    part = canvas.window(-1, 1, -1, -0.35)
    y = part.y
    snowy = batch.having("weather", "snowy").view(-1, 1, 1, 1)
    stone = torch.where(snowy, part.colour((0.90, 0.93, 0.97)), part.colour((0.72, 0.69, 0.66)))
    part.paint(y + 0.42, stone * light, "sidewalk")
    road = torch.where(snowy, part.colour((0.56, 0.58, 0.62)), part.colour((0.30, 0.31, 0.34)))
    part.paint(y + 0.54, part.colour((0.50, 0.48, 0.47)) * light, "sidewalk")
    part.paint(y + 0.57, road * light, "road", tone=-0.25 * (y + 0.57))
    u = (part.x + 0.3 * batch["sway"]) * 1.6
    dash = sdf.box((u - torch.round(u)) / 1.6, part.y + 0.84, 0.16, 0.026)
    part.paint(dash, part.colour((0.96, 0.94, 0.86)) * light, "road")


def draw_trees(canvas: Canvas, batch: Batch) -> None:
    """Two round trees on the pavement."""
    light = sky.ambient(batch)
    for x, side in ((-0.62, 1.0), (0.6, -1.0)):
        part = canvas.window(x - 0.4, x + 0.4, -0.6, 0.32)
        tree = part.local(x + 0.08 * batch["sway"] * side, -0.1)
        u, v = tree.x, tree.y
        tree.paint(sdf.box(u, v + 0.22, 0.04, 0.2), part.colour((0.40, 0.26, 0.16)) * light, "tree")
        crown = sdf.smooth_union(sdf.circle(u, v - 0.1, 0.21), sdf.circle(u - 0.12, v, 0.16), 0.08)
        crown = sdf.smooth_union(crown, sdf.circle(u + 0.12, v, 0.16), 0.08)
        green = part.colour((0.20, 0.55, 0.20)) * light
        tree.paint(crown, green, "tree", tone=0.8 * (v - 0.1) - 0.6 * u)


def draw_car(canvas: Canvas, batch: Batch) -> None:
    """A large car on the road."""
    part = canvas.window(-0.95, 0.95, -1, -0.15)
    flip = torch.where(batch["side"] > 0, 1.0, -1.0)
    car = part.local(batch["car_x"], -0.64, 1.0, flip=flip)
    x, y = car.x, car.y
    colour = sky.painted(batch.colour("car"), batch)
    car.paint(sdf.ellipse(x, y + 0.18, 0.55, 0.07), (0.0, 0.0, 0.0), opacity=0.4, blur=0.06)
    cabin = sdf.convex(x, y, (-0.20, 0.30), (0.14, 0.30), (0.30, 0.06), (-0.36, 0.06)) - 0.03
    body = sdf.box(x, y, 0.52, 0.13, 0.08)
    car.paint(sdf.union(cabin, body), colour, "car", tone=0.9 * y - 0.05)
    pane = sdf.convex(x, y, (-0.18, 0.27), (0.12, 0.27), (0.25, 0.10), (-0.29, 0.10))
    pane = sdf.common(pane, 0.025 - (x + 0.02).abs())
    car.paint(pane, batch.colour("time", {**GLASS, "day": (0.70, 0.84, 0.94)}), "car")
    wheels = sdf.circle(x.abs() - 0.30, y + 0.13, 0.125)
    car.paint(wheels, (0.07, 0.07, 0.08), "car")
    car.paint(wheels + 0.07, (0.75, 0.76, 0.78), "car")
    car.paint(sdf.circle(x - 0.47, y - 0.03, 0.045), (1.0, 0.93, 0.6), "car")


WEATHER = {"clear": "", "rainy": "in the rain", "snowy": "in falling snow"}
HOURS = {"day": "by day", "sunset": "at sunset", "night": "at night"}


def captions(scene: Scene) -> list[Caption]:
    """Wordings of the street, the full one first."""
    v = scene.attributes
    houses = f"{v['buildings']} {v['colour']} buildings"
    hour, weather = HOURS[v["time"]], WEATHER[v["weather"]] or "under a clear sky"
    extras = ["trees"] if v["trees"] == "yes" else []
    extras += [a(f"{v['car']} car")] if v["car"] != "none" else []
    scene_of = listed([houses, *extras])
    with_extras = f"with {listed(extras)}" if extras else ""
    full = ("buildings", "colour", "time", "weather", "trees", "car")
    car = a(f"{v['car']} car") if v["car"] != "none" else "a street"
    some = ("buildings", "colour", "trees", "car")
    return [
        caption(scene, f"a street with {scene_of} {hour} {weather}", *full),
        caption(scene, f"{a(v['weather'])} {v['time']}, a street with {scene_of}", *full),
        caption(scene, f"{houses} and a street {with_extras} {hour} {weather}", *full),
        caption(scene, f"a street with {houses} {hour}", "buildings", "colour", "time"),
        caption(scene, f"{car} before {houses}", "car", "buildings", "colour"),
        caption(scene, f"a street with {scene_of}", *some),
    ]


FAMILY = Family("streets", ATTRIBUTES, JITTER, sample, draw, captions)
