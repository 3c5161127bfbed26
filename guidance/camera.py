"""Moves of the camera between steps of guidance: animations that travel."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Move:
    """One move.

    ``zoom`` enlarges the picture about its middle, ``turn`` turns it clockwise by degrees, ``right`` and
    ``down`` then move it by shares of its width and height.
    """

    zoom: float = 1.0
    turn: float = 0.0
    right: float = 0.0
    down: float = 0.0

    def apply(self, picture: Tensor) -> Tensor:
        """The moved picture, (B, 3, H, W) as before; what comes in at a border mirrors what is there."""
        height, width = picture.shape[2:]
        angle = math.radians(self.turn)
        cos, sin = math.cos(angle) / self.zoom, math.sin(angle) / self.zoom
        inverse = torch.tensor(
            [
                [cos, sin * height / width, -2 * self.right * cos - 2 * self.down * sin * height / width],
                [-sin * width / height, cos, 2 * self.right * sin * width / height - 2 * self.down * cos],
            ]
        )
        each = inverse.to(picture).expand(len(picture), -1, -1)
        grid = F.affine_grid(each, list(picture.shape), align_corners=False)
        return F.grid_sample(picture, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
