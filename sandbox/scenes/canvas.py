"""Batched drawing with signed distances.

A distance is negative inside a figure and positive outside, in units of half the picture's
width; x runs from -1 (left) to 1 (right), y from -1 (bottom) to 1 (top). The formulas follow
Inigo Quilez, "2D distance functions", https://iquilezles.org/articles/distfunctions2d
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sandbox.scenes.colours import RGB

CLASSES: tuple[str, ...] = (
    "background",
    "sky",
    "sun",
    "mountain",
    "grass",
    "sea",
    "sand",
    "snow",
    "building",
    "window",
    "road",
    "sidewalk",
    "tree",
    "car",
    "balloon",
    "boat",
    "person",
    "hair",
    "clothes",
    "hat",
    "glasses",
    "shape",
    "flower",
    "leaf",
    "bird",
    "branch",
    "animal",
    "scarf",
    "wall",
    "table",
    "fruit",
    "vessel",
)
CLASS_INDEX = {name: index for index, name in enumerate(CLASSES)}
PERSON_CLASSES = frozenset({"person", "hair", "clothes", "hat", "glasses"})

Number = Tensor | float


class Canvas:
    """A batch of pictures under the brush, with their segmentation and matte.

    ``image`` is (B, 3, H, W) in [0, 1], ``classes`` (B, H, W) uint8 and ``alpha`` (B, H, W) in
    [0, 1]. ``x`` and ``y`` broadcast to (B, H, W); ``pixel`` is a pixel's width in their unit.
    """

    def __init__(
        self, image: Tensor, classes: Tensor, alpha: Tensor, x: Tensor, y: Tensor, pixel: Number
    ) -> None:
        self.image, self.classes, self.alpha = image, classes, alpha
        self.x, self.y, self.pixel = x, y, pixel

    @classmethod
    def blank(cls, batch: int, size: int, device: torch.device | str) -> Canvas:
        """A black canvas of ``batch`` pictures of ``size`` by ``size`` pixels."""
        centres = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (2 / size) - 1
        return cls(
            torch.zeros(batch, 3, size, size, device=device),
            torch.zeros(batch, size, size, dtype=torch.uint8, device=device),
            torch.zeros(batch, size, size, device=device),
            centres.view(1, 1, size),
            -centres.view(1, size, 1),
            2 / size,
        )

    def window(self, left: float, right: float, bottom: float, top: float) -> Canvas:
        """The part of an untransformed canvas within the bounds, sharing its memory."""
        size = self.x.shape[2]
        columns = slice(_index(left, size, math.floor), _index(right, size, math.ceil))
        rows = slice(_index(-top, size, math.floor), _index(-bottom, size, math.ceil))
        return Canvas(
            self.image[:, :, rows, columns],
            self.classes[:, rows, columns],
            self.alpha[:, rows, columns],
            self.x[:, :, columns],
            self.y[:, rows],
            self.pixel,
        )

    def local(
        self,
        x: Number = 0.0,
        y: Number = 0.0,
        scale: Number = 1.0,
        angle: Number | None = None,
        flip: Number = 1.0,
    ) -> Canvas:
        """The same canvas in coordinates centred on (x, y), turned by ``angle`` and scaled.

        Arguments are numbers or (B, 1, 1) tensors; ``flip`` of -1 mirrors left and right.
        """
        u, v = self.x - x, self.y - y
        if angle is not None:
            u, v = rotate(u, v, angle)
        pixel = self.pixel / scale
        return Canvas(self.image, self.classes, self.alpha, u * (flip / scale), v / scale, pixel)

    def take(self, rows: Tensor) -> Canvas:
        """A copy of the pictures at indices ``rows``, (N,) int64; ``put`` writes it back."""
        return Canvas(
            self.image[rows],
            self.classes[rows],
            self.alpha[rows],
            _pick(self.x, rows),
            _pick(self.y, rows),
            _pick(self.pixel, rows),
        )

    def put(self, rows: Tensor, part: Canvas) -> None:
        """Write back the pictures that ``take`` copied."""
        self.image[rows], self.classes[rows], self.alpha[rows] = (
            part.image,
            part.classes,
            part.alpha,
        )

    def paint(
        self,
        distance: Tensor,
        colour: Tensor | RGB,
        name: str | None = None,
        opacity: Number = 1.0,
        blur: float = 0.0,
        tone: Number = 0.0,
    ) -> None:
        """Fill the inside of ``distance`` (broadcasting to (B, H, W)) with a colour.

        ``colour`` broadcasts to (B, 3, H, W); ``tone`` brightens (above 0) or darkens it by
        place. ``name`` is the class given to what is covered by more than half; without it
        segmentation and matte stay. ``blur`` is the edge's width in canvas units.
        """
        width = self.pixel * 1.5 + blur
        coverage = (0.5 - distance / width).clamp_(0, 1)
        coverage = coverage * coverage * (3 - 2 * coverage)
        if name is not None:
            self._label(coverage, name)
        if not isinstance(opacity, float) or opacity != 1.0:
            coverage = coverage * opacity
        self.light(coverage, colour, tone)

    def light(self, weight: Tensor, colour: Tensor | RGB, tone: Number = 0.0) -> None:
        """Mix a colour into the picture by ``weight``, (B, H, W) in [0, 1]."""
        self.image.lerp_(self._toned(colour, tone), weight.unsqueeze(1))

    def fill(self, colour: Tensor | RGB, name: str, tone: Number = 0.0) -> None:
        """Cover everything with a colour."""
        self.image.copy_(self._toned(colour, tone).expand_as(self.image))
        self.classes.fill_(CLASS_INDEX[name])
        self.alpha.fill_(float(name in PERSON_CLASSES))

    def colour(self, colour: Tensor | RGB) -> Tensor:
        """A colour as a tensor broadcasting to (B, 3, H, W)."""
        if isinstance(colour, Tensor):
            return colour
        return torch.tensor(colour, device=self.image.device).view(1, 3, 1, 1)

    def _toned(self, colour: Tensor | RGB, tone: Number) -> Tensor:
        if isinstance(tone, Tensor):
            tone = tone.unsqueeze(1)
        return (self.colour(colour) * (1 + tone)).clamp_(0, 1)

    def _label(self, coverage: Tensor, name: str) -> None:
        self.classes.masked_fill_(coverage > 0.5, CLASS_INDEX[name])
        self.alpha.lerp_(torch.full_like(self.alpha[:1], float(name in PERSON_CLASSES)), coverage)


def _pick(values: Number, rows: Tensor) -> Number:
    """The rows of a tensor that is not the same for all pictures."""
    shared = not isinstance(values, Tensor) or values.shape[0] == 1
    return values if shared else values[rows]


def _index(coordinate: float, size: int, rounding: Callable[[float], int]) -> int:
    return min(max(rounding((coordinate + 1) / 2 * size), 0), size)


def mix(first: Tensor, second: Tensor, weight: Number) -> Tensor:
    """``first`` at weight 0, ``second`` at weight 1."""
    return first + (second - first) * weight


def rotate(x: Tensor, y: Tensor, angle: Number) -> tuple[Tensor, Tensor]:
    """Coordinates in a frame turned counter-clockwise by ``angle`` radians."""
    angle = torch.as_tensor(angle)
    cosine, sine = angle.cos(), angle.sin()
    return x * cosine + y * sine, y * cosine - x * sine


def circle(x: Tensor, y: Tensor, radius: Number) -> Tensor:
    """Distance to a circle about the origin."""
    return torch.sqrt(x * x + y * y) - radius


def ellipse(x: Tensor, y: Tensor, width: Number, height: Number) -> Tensor:
    """Approximate distance to an ellipse of half axes ``width`` and ``height``."""
    u, v = x / width, y / height
    near = torch.sqrt(u * u + v * v).clamp_(min=1e-3)
    slope = torch.sqrt((u / width) ** 2 + (v / height) ** 2).clamp_(min=1e-4)
    return near * (near - 1) / slope


def box(x: Tensor, y: Tensor, width: Number, height: Number, corner: float = 0.0) -> Tensor:
    """Distance to a rectangle of half sizes ``width`` and ``height`` with round corners."""
    u, v = x.abs() - (width - corner), y.abs() - (height - corner)
    outside = torch.sqrt(u.clamp(min=0) ** 2 + v.clamp(min=0) ** 2)
    return outside + torch.maximum(u, v).clamp(max=0) - corner


def capsule(x: Tensor, y: Tensor, start: Sequence[Number], end: Sequence[Number], radius: Number) -> Tensor:
    """Distance to a line from ``start`` to ``end`` of the given half thickness."""
    px, py = x - start[0], y - start[1]
    bx, by = end[0] - start[0], end[1] - start[1]
    along = ((px * bx + py * by) / (bx * bx + by * by)).clamp(0, 1)
    return circle(px - bx * along, py - by * along, radius)


def convex(x: Tensor, y: Tensor, *corners: tuple[float, float]) -> Tensor:
    """Distance bound of a convex polygon with corners in clockwise order."""
    distance = None
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = math.hypot(bx - ax, by - ay)
        side = (x - ax) * ((ay - by) / length) + (y - ay) * ((bx - ax) / length)
        distance = side if distance is None else torch.maximum(distance, side)
    return distance


def diamond(x: Tensor, y: Tensor, width: float, height: float) -> Tensor:
    """Distance bound of a rhombus of half diagonals ``width`` and ``height``."""
    return (x.abs() * height + y.abs() * width - width * height) / math.hypot(width, height)


def star(x: Tensor, y: Tensor, radius: float, inner: float, points: int = 5) -> Tensor:
    """Distance bound of a star with tips at ``radius`` and notches at ``inner``."""
    u, v = fold(x, y, points)
    angle = math.pi / points
    notch_x, notch_y = inner * math.cos(angle), inner * math.sin(angle)
    length = math.hypot(radius - notch_x, notch_y)
    return ((u - radius) * notch_y + v.abs() * (radius - notch_x)) / length


def heart(x: Tensor, y: Tensor) -> Tensor:
    """Distance to a heart from (0, 0) to about (0, 1.1)."""
    x = x.abs()
    lobes = circle(x - 0.25, y - 0.75, math.sqrt(2) / 4)
    half = 0.5 * (x + y).clamp(min=0)
    tip = torch.minimum(x**2 + (y - 1) ** 2, (x - half) ** 2 + (y - half) ** 2).sqrt()
    return torch.where(x + y > 1, lobes, tip * torch.sign(x - y))


def fold(x: Tensor, y: Tensor, count: Number) -> tuple[Tensor, Tensor]:
    """Fold the plane into one of ``count`` equal sectors; the first one points up.

    Returns the coordinates along and across the sector's axis.
    """
    sector = 2 * math.pi / count
    angle = torch.atan2(x, y)
    angle = angle - sector * torch.round(angle / sector)
    radius = torch.sqrt(x * x + y * y)
    return radius * angle.cos(), radius * angle.sin()


def union(*distances: Tensor) -> Tensor:
    """Distance to whichever figure is nearest."""
    result = distances[0]
    for distance in distances[1:]:
        result = torch.minimum(result, distance)
    return result


def common(first: Tensor, second: Tensor) -> Tensor:
    """Distance to what two figures share."""
    return torch.maximum(first, second)


def smooth_union(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """Union of two figures whose seam is rounded by ``radius``."""
    near = (radius - (first - second).abs()).clamp(min=0) / radius
    return torch.minimum(first, second) - near * near * (radius / 4)
