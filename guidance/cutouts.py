"""Cutouts: random views of a picture, so that guidance must please CLIP from everywhere (Crowson 2021).

Crops are a little rotated and noised. All views come from one differentiable resampling of one picture, and
every random number from the job's own generator.
"""

import math

import torch
import torch.nn.functional as F
from kornia.geometry.transform import warp_affine
from torch import Tensor

SMALLEST = 0.75  # of the picture's shorter side
LARGEST_ANGLE = 4.0  # degrees
NOISE = 0.05
REACH = 0.06  # how far beyond its borders, as a share of the picture, a view may look


def cut_out(image: Tensor, count: int, view: int, random: torch.Generator) -> Tensor:
    """Random views of ``image`` (1, 3, H, W) in [0, 1]: (count, 3, view, view) in about [0, 1]."""
    pooled = _pool_towards(image, view)
    matrices = _placements(count, pooled.shape[2:], view, random).to(image)
    views = warp_affine(
        pooled.expand(count, -1, -1, -1), matrices, (view, view), padding_mode="border", align_corners=False
    )
    strength = NOISE * torch.rand(count, 1, 1, 1, generator=random)
    return views + (strength * torch.randn(views.shape, generator=random)).to(image)


def _pool_towards(image: Tensor, view: int) -> Tensor:
    """Shrink once, before the views are taken, so that resampling does not alias."""
    shorter = min(image.shape[2:])
    if shorter * SMALLEST <= view:
        return image
    scale = view / (SMALLEST * shorter)
    return F.interpolate(image, [round(side * scale) for side in image.shape[2:]], mode="area")


def _placements(count: int, size: torch.Size, view: int, random: torch.Generator) -> Tensor:
    """Affine matrices (count, 2, 3), in pixels, from the picture to each view."""
    draw = torch.rand(4, count, generator=random)
    height, width = size
    side = min(height, width) * (SMALLEST + (1 + REACH - SMALLEST) * draw[0])
    angle = (draw[1] * 2 - 1) * math.radians(LARGEST_ANGLE)
    x, y = (
        length / 2 + (d - 0.5) * (length * (1 + REACH) - side).clamp(min=0)
        for length, d in ((width, draw[2]), (height, draw[3]))
    )
    scale = view / side
    cos, sin = scale * angle.cos(), scale * angle.sin()
    middle = (view - 1) / 2
    rows = [cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y]
    return torch.stack(rows, 1).view(count, 2, 3)
