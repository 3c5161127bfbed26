"""Contact sheets: many pictures in one file, to look at."""

from pathlib import Path

import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def write_sheet(path: Path, images: Tensor, columns: int, gap: int = 4) -> None:
    """Write pictures (B, 3, H, W) in [0, 1] row by row on white."""
    padded = F.pad(images.float().clamp(0, 1), (gap, gap, gap, gap), value=1.0)
    missing = -len(padded) % columns
    padded = F.pad(padded, (0, 0, 0, 0, 0, 0, 0, missing), value=1.0)
    rows = padded.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rows.mul(255).round().byte().numpy()).save(path)
