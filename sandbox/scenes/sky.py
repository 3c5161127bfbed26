"""Sky, sun, clouds, rain and snow, shared by the outdoor families."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sandbox.scenes import canvas as sdf
from sandbox.scenes.canvas import Canvas
from sandbox.scenes.colours import RGB
from sandbox.scenes.scene import Batch, draw_where

TIMES = ("day", "sunset", "night")
ZENITH: dict[str, RGB] = {
    "day": (0.22, 0.50, 0.90),
    "sunset": (0.34, 0.22, 0.52),
    "night": (0.02, 0.03, 0.12),
}
HORIZON: dict[str, RGB] = {
    "day": (0.76, 0.89, 0.98),
    "sunset": (1.00, 0.62, 0.30),
    "night": (0.13, 0.17, 0.38),
}
AMBIENT: dict[str, RGB] = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (0.96, 0.74, 0.64),
    "night": (0.38, 0.42, 0.58),
}
CLOUD: dict[str, RGB] = {
    "day": (0.98, 0.98, 1.0),
    "sunset": (0.98, 0.72, 0.66),
    "night": (0.28, 0.31, 0.45),
}
DISC: dict[str, RGB] = {
    "day": (1.0, 0.93, 0.45),
    "sunset": (1.0, 0.80, 0.40),
    "night": (0.96, 0.95, 0.86),
}
GLOW: dict[str, RGB] = {
    "day": (1.0, 0.97, 0.75),
    "sunset": (1.0, 0.55, 0.20),
    "night": (0.50, 0.55, 0.80),
}
STARS = (
    (-0.82, 0.82),
    (-0.45, 0.62),
    (-0.1, 0.88),
    (0.2, 0.5),
    (0.4, 0.8),
    (0.85, 0.72),
    (-0.7, 0.35),
)
FLAKES = 5
DROPS = 5


def sky_colours(batch: Batch) -> tuple[Tensor, Tensor]:
    """Colours of zenith and horizon, (B, 3, 1, 1) each; bad weather takes their colour away."""
    gloom = batch.number("weather", {"clear": 0.0, "cloudy": 0.15, "rainy": 0.7, "snowy": 0.6})
    zenith, horizon = batch.colour("time", ZENITH), batch.colour("time", HORIZON)
    pale = 0.35 * zenith + 0.45 * horizon
    grey = pale.mean(1, keepdim=True) * 0.7 + pale * 0.3
    weight = gloom.unsqueeze(1)
    return sdf.mix(zenith, grey, weight), sdf.mix(horizon, grey * 1.12, weight * 0.8)


def draw_sky(canvas: Canvas, batch: Batch, horizon: float = -0.1) -> None:
    """Fill the canvas with the sky of time and weather."""
    top, low = sky_colours(batch)
    height = ((canvas.y - horizon) / (1 - horizon)).clamp(0, 1).sqrt()
    canvas.fill(sdf.mix(low, top, height.unsqueeze(1)), "sky")


def draw_stars(canvas: Canvas, batch: Batch) -> None:
    """A few large stars."""
    distance = sdf.union(
        *(sdf.circle(canvas.x - x - 0.08 * batch["sway"], canvas.y - y, 0.012) for x, y in STARS)
    )
    canvas.paint(distance, (1.0, 0.98, 0.88), opacity=0.9, blur=0.035)


def draw_sun(canvas: Canvas, batch: Batch, x: Tensor, y: Tensor) -> None:
    """The sun, or the moon at night, with the glow around it, at (x, y)."""
    sky = canvas.local(x, y)
    near = torch.exp(-2.2 * (sky.x**2 + sky.y**2).sqrt())
    canvas.light(near * 0.75, batch.colour("time", GLOW))
    sky.paint(sdf.circle(sky.x, sky.y, 0.15), batch.colour("time", DISC), "sun")


def draw_cover(canvas: Canvas, batch: Batch) -> None:
    """A heavy cover of cloud along the top edge."""
    top, low = sky_colours(batch)
    part = canvas.window(-1, 1, 0.3, 1)
    x = part.x + batch["sway"]
    edge = 0.68 + 0.1 * torch.sin(x * 4.2) * torch.sin(x * 2.3 + 1) - part.y
    part.paint(edge - 0.06, sdf.mix(top, low, 0.4) * 0.9, blur=0.12)
    edge = 0.86 + 0.07 * torch.sin(x * 5.0 + 2) - part.y
    part.paint(edge, top * 0.72, blur=0.12)


def draw_fall(canvas: Canvas, batch: Batch) -> None:
    """Rain or snow, in front of everything."""
    draw_where(batch.having("weather", "rainy"), canvas, batch, draw_rain)
    draw_where(batch.having("weather", "snowy"), canvas, batch, draw_flakes)


def draw_rain(canvas: Canvas, batch: Batch) -> None:
    """Slanted soft streaks on a grid with every second row set off."""
    u = (canvas.x + 0.25 * canvas.y + 0.2 * batch["sway"]) * DROPS / 2
    v = canvas.y * 1.6 + 0.5 * torch.remainder(torch.floor(u), 2)
    u, v = u - torch.floor(u) - 0.5, v - torch.floor(v) - 0.5
    streak = sdf.box(u * 2 / DROPS, v / 1.6, 0.009, 0.15)
    canvas.paint(streak, (0.80, 0.87, 0.97), opacity=0.6, blur=0.03)


def draw_flakes(canvas: Canvas, batch: Batch) -> None:
    """Large soft flakes on a grid with every second row set off."""
    v = (canvas.y + 0.15 * batch["lift"]) * FLAKES / 2
    row = torch.floor(v)
    u = canvas.x * FLAKES / 2 + 0.5 * torch.remainder(row, 2) + 0.3 * torch.sin(row * 2.4) + batch["sway"]
    shift = 0.18 * torch.sin(torch.floor(u) * 3.1 + row * 1.7)
    u, v = u - torch.floor(u) - 0.5, v - row - 0.5 + shift
    flake = sdf.circle(u, v, 0.105) * (2 / FLAKES)
    canvas.paint(flake, (1.0, 1.0, 1.0), opacity=0.9, blur=0.045)


def ambient(batch: Batch) -> Tensor:
    """What the light of the hour multiplies the ground's colours by, (B, 3, 1, 1)."""
    dull = batch.number("weather", {"clear": 1.0, "cloudy": 0.97, "rainy": 0.8, "snowy": 0.88})
    return batch.colour("time", AMBIENT) * dull.unsqueeze(1)


def painted(colour: Tensor, batch: Batch) -> Tensor:
    """A named colour in the light of the hour, kept bright enough to be named, (B, 3, 1, 1)."""
    return colour * (0.45 + 0.55 * ambient(batch))


def wave(x: Tensor, length: float, phase: Tensor | float) -> Tensor:
    """A smooth uneven wave of the given length with values in [-1, 1]."""
    turn = 2 * math.pi * x / length + phase
    return 0.65 * torch.sin(turn) + 0.35 * torch.sin(1.7 * turn + 2 * phase)
