"""What a picture may begin with where neither the prior nor a person gives one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from networks.vqgan import VQGAN

OCTAVES = 5


def random_codes(vqgan: VQGAN, grid: tuple[int, int], random: torch.Generator) -> Tensor:
    """The latent (1, C, h, w) of codes drawn one by one."""
    codes = torch.randint(vqgan.config.n_embed, (1, *grid), generator=random)
    return vqgan.embed(codes.to(vqgan.codebook.device)).float()


def random_pixels(size: tuple[int, int], random: torch.Generator) -> Tensor:
    """Coloured noise of all scales, (1, 3, H, W) in [0, 1]."""
    picture = torch.zeros(1, 3, *size)
    for octave in range(OCTAVES):
        cells = 2 ** (octave + 2)
        noise = torch.randn(1, 3, cells, cells, generator=random)
        picture += F.interpolate(noise, size, mode="bicubic") / 2**octave
    return picture.mul(0.25).add(0.5).clamp(0, 1)


def random_gradient(size: tuple[int, int], random: torch.Generator) -> Tensor:
    """A smooth passage between four random colours, one a corner, (1, 3, H, W) in [0, 1]."""
    corners = torch.rand(1, 3, 2, 2, generator=random)
    return F.interpolate(corners, size, mode="bilinear", align_corners=True)
