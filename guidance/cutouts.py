"""Cutouts: random views of a picture, so that guidance must please CLIP from everywhere (Crowson 2021).

Each view is one projective resampling of the picture (place, size, rotation, mirror, perspective) and one
affine change of its colours (brightness, contrast, hue, grayscale), then noise and erasing. All that is
random is drawn first, from the job's own generator: views taken a few at a time are those taken all at once.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 0.06  # how far beyond its borders, as a share of the picture, a view may look
LARGEST_TURN = 90.0  # degrees, at strength 1
LARGEST_SHIFT = 0.5  # of a view's corners, as a share of its half, at strength 1
LARGEST_HUE = math.pi / 2  # at strength 1
ERASED = (0.2, 0.5)  # shortest and longest side of what is erased, as a share of the view
SLACK = 64  # pixels by which the field of noise is larger than a view
GRAY = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Augmentations:
    """How views are chosen and changed; strengths go from 0 (off) to 1.

    ``smallest`` is the smallest view's side as a share of the picture's shorter side; ``power`` above 1 makes
    small views more frequent.
    """

    smallest: float = 0.75
    power: float = 1.0
    noise: float = 0.05
    rotation: float = 0.05
    flip: float = 0.0
    perspective: float = 0.0
    colour_jitter: float = 0.0
    erasing: float = 0.0
    grayscale: float = 0.0


@dataclass(frozen=True)
class Views:
    """``len(placements)`` views of (view, view) pixels, decided but not yet taken.

    ``placements`` (N, 3, 3) map a view's points to the picture's, both in [-1, 1]; ``colours`` (N, 3, 4) are
    a matrix and an offset, None for none; ``grain`` (3, view + SLACK, view + SLACK) is the noise, from which
    each view has its own part and amount; ``erased`` (N, view, view) is True where a view is erased.
    """

    view: int
    smallest: float
    placements: Tensor
    colours: Tensor | None
    grain: Tensor | None
    grain_places: Tensor
    grain_amounts: Tensor
    erased: Tensor | None

    def __len__(self) -> int:
        return len(self.placements)

    def take(self, image: Tensor, part: slice = slice(None)) -> Tensor:
        """Those views of ``image`` (1, 3, H, W) in [0, 1] that are in ``part``, (n, 3, view, view)."""
        pooled = _pool_towards(image, self.view, self.smallest)
        grid = _grid(self.placements[part].to(image), self.view)
        views = F.grid_sample(
            pooled.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False
        )
        if self.colours is not None:
            colours = self.colours[part].to(image)
            views = torch.einsum("nij,njhw->nihw", colours[:, :, :3], views) + colours[:, :, 3, None, None]
        if self.grain is not None:
            views = views + self._grains(part, image)
        if self.erased is not None:
            views = views.masked_fill(self.erased[part, None].to(image.device), 0.5)
        return views

    def _grains(self, part: slice, image: Tensor) -> Tensor:
        assert self.grain is not None
        grain, amounts = self.grain.to(image), self.grain_amounts[part].to(image)
        corners = self.grain_places[part].tolist()
        crops = [grain[:, y : y + self.view, x : x + self.view] for y, x in corners]
        return torch.stack(crops) * amounts.view(-1, 1, 1, 1)


def choose_views(
    size: tuple[int, int], count: int, view: int, how: Augmentations, random: torch.Generator
) -> Views:
    """Decide ``count`` views of (view, view) pixels of a picture of ``size`` (height, width)."""
    return Views(
        view=view,
        smallest=how.smallest,
        placements=_placements(size, count, how, random),
        colours=_colours(count, how, random),
        grain=torch.randn(3, view + SLACK, view + SLACK, generator=random) if how.noise else None,
        grain_places=torch.randint(SLACK + 1, (count, 2), generator=random),
        grain_amounts=how.noise * torch.rand(count, generator=random),
        erased=_erased(count, view, how, random),
    )


def cut_out(
    image: Tensor, count: int, view: int, random: torch.Generator, how: Augmentations | None = None
) -> Tensor:
    """Random views of ``image`` (1, 3, H, W) in [0, 1]: (count, 3, view, view) in about [0, 1]."""
    height, width = image.shape[2:]
    return choose_views((height, width), count, view, how or Augmentations(), random).take(image)


def _pool_towards(image: Tensor, view: int, smallest: float) -> Tensor:
    """Shrink once, before the views are taken, so that resampling does not alias."""
    shorter = min(image.shape[2:])
    if shorter * smallest <= view:
        return image
    scale = view / (smallest * shorter)
    return F.interpolate(image, [round(side * scale) for side in image.shape[2:]], mode="area")


def _placements(size: tuple[int, int], count: int, how: Augmentations, random: torch.Generator) -> Tensor:
    """Matrices (count, 3, 3) from the views' points to the picture's."""
    height, width = size
    shorter = min(size)
    draw = torch.rand(4, count, generator=random)
    side = shorter * (how.smallest + (1 + REACH - how.smallest) * draw[0] ** how.power)
    angle = (draw[1] * 2 - 1) * math.radians(LARGEST_TURN * how.rotation)
    x, y = (
        (d * 2 - 1) * (length * (1 + REACH) - side).clamp(min=0) / length
        for length, d in ((width, draw[2]), (height, draw[3]))
    )
    mirror = torch.where(torch.rand(count, generator=random) < how.flip / 2, -1.0, 1.0)
    across, down = side / width, side / height
    zero, one = torch.zeros(count), torch.ones(count)
    rows = [mirror * across * angle.cos(), -across * angle.sin(), x]
    rows += [mirror * down * angle.sin(), down * angle.cos(), y]
    tilt = how.perspective * LARGEST_SHIFT * (torch.rand(2, count, generator=random) * 2 - 1)
    tilted = torch.stack([one, zero, zero, zero, one, zero, *tilt, one], 1).view(count, 3, 3)
    return torch.stack([*rows, zero, zero, one], 1).view(count, 3, 3) @ tilted


def _grid(placements: Tensor, view: int) -> Tensor:
    """Where each view's pixels lie in the picture, (N, view, view, 2) in [-1, 1]."""
    along = (torch.arange(view, device=placements.device) * 2 + 1) / view - 1
    y, x = torch.meshgrid(along, along, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3)
    there = points @ placements.transpose(1, 2)
    return (there[..., :2] / there[..., 2:]).view(-1, view, view, 2)


def _colours(count: int, how: Augmentations, random: torch.Generator) -> Tensor | None:
    """Matrix and offset of each view's colours, (count, 3, 4); None where they stay."""
    if not (how.colour_jitter or how.grayscale):
        return None
    brightness, contrast, hue = how.colour_jitter * (torch.rand(3, count, generator=random) * 2 - 1)
    to_gray = GRAY.expand(3, 3)
    matrix = _turned_hues(hue * LARGEST_HUE)
    gray = torch.rand(count, generator=random) < how.grayscale
    pale = how.colour_jitter * (torch.rand(count, 1, 1, generator=random) * 2 - 1)
    matrix = torch.where(gray.view(-1, 1, 1), to_gray, torch.lerp(matrix, to_gray @ matrix, pale))
    gain = (1 + contrast / 2).view(-1, 1, 1)
    offset = ((1 - gain) / 2 + brightness.view(-1, 1, 1) / 4).expand(-1, 3, 1)
    return torch.cat([matrix * gain, offset], 2)


def _turned_hues(angles: Tensor) -> Tensor:
    """Rotations about the gray axis (Rodrigues' formula), (N, 3, 3)."""
    axis = torch.full((3,), 3**-0.5)
    cross = torch.linalg.cross(axis.expand(3, 3), torch.eye(3)).T
    cos, sin = angles.cos().view(-1, 1, 1), angles.sin().view(-1, 1, 1)
    return cos * torch.eye(3) + sin * cross + (1 - cos) * torch.outer(axis, axis)


def _erased(count: int, view: int, how: Augmentations, random: torch.Generator) -> Tensor | None:
    """A rectangle of each chosen view, (count, view, view)."""
    if not how.erasing:
        return None
    chosen = torch.rand(count, 1, 1, generator=random) < how.erasing
    shortest, longest = ERASED
    sides = shortest + (longest - shortest) * torch.rand(2, count, 1, generator=random)
    starts = (1 - sides) * torch.rand(2, count, 1, generator=random)
    along = (torch.arange(view) + 0.5) / view
    rows, columns = (
        (along >= start) & (along < start + side) for start, side in zip(starts, sides, strict=True)
    )
    return chosen & rows[:, :, None] & columns[:, None, :]
