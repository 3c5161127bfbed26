"""Rendered scenes on disk, read through a memory map: what every recipe trains on.

The renderer needs milliseconds a scene and a training step sees a hundred of them, so scenes are drawn
once into a file of bytes and looked up by index. Scene ``i`` has seed ``i``: captions and attributes are
recomputed from it.
"""

import os
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sandbox.scenes import HELD_OUT, Scene, render, sample_scene

SIZE = 128
CHUNK = 256


class SceneData:
    """``count`` training scenes: ``images`` (count, 3, SIZE, SIZE) uint8 and their ``scenes``."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = _file_with(folder, count) or _render_to(folder / f"scenes-{SIZE}-{count}.u8", count)
        self.images = np.memmap(path, np.uint8, "r", shape=(count, 3, SIZE, SIZE))
        self.scenes = [sample_scene(seed) for seed in range(count)]

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, indices: Tensor) -> Tensor:
        """Pictures (B, 3, SIZE, SIZE) float32 in [0, 1]."""
        return torch.from_numpy(self.images[indices.numpy()]).float().div_(255)


def held_out(count: int, offset: int = 0) -> list[Scene]:
    """Scenes that no recipe ever trains on."""
    return [sample_scene(HELD_OUT + offset + i) for i in range(count)]


def rendered(scenes: list[Scene], size: int = SIZE) -> Iterator[Tensor]:
    """Draw ``scenes`` in order, in chunks (B, 3, size, size) in [0, 1]."""
    for start in range(0, len(scenes), CHUNK):
        yield render(scenes[start : start + CHUNK], size)


def _file_with(folder: Path, count: int) -> Path | None:
    """An earlier file that begins with the scenes wanted."""
    files = folder.glob(f"scenes-{SIZE}-*.u8")
    return next((file for file in files if int(file.stem.rpartition("-")[2]) >= count), None)


def _render_to(path: Path, count: int) -> Path:
    partial_path = path.with_suffix(".partial")
    images = np.memmap(partial_path, np.uint8, "w+", shape=(count, 3, SIZE, SIZE))
    images.flush()
    starts = range(0, count, CHUNK)
    with get_context("spawn").Pool(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        chunks = pool.imap_unordered(partial(_render_chunk, partial_path, count), starts)
        for _ in tqdm(chunks, "rendering scenes", len(starts), unit="chunk"):
            pass
    return partial_path.rename(path)


def _render_chunk(path: Path, count: int, start: int) -> None:
    images = np.memmap(path, np.uint8, "r+", shape=(count, 3, SIZE, SIZE))
    stop = min(start + CHUNK, count)
    drawn = render([sample_scene(seed) for seed in range(start, stop)], SIZE)
    images[start:stop] = drawn.mul(255).round().byte().numpy()
    images.flush()
