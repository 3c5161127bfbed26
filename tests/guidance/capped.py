"""A process whose memory is capped: one step with many cutouts, then says what became of it as JSON.

Run: ``python capped.py CUTOUTS CAP_MB SIDE``; no cap with 0.
"""

import json
import os
import resource
import sys
from pathlib import Path

import torch

from generators.guided import fast_clip
from guidance.drawings import VqganDrawing
from guidance.latent_optimiser import Guidance, LatentOptimiser
from guidance.losses import Targets
from guidance.memory import NotEnoughMemory, free_what_is_unused
from settings import ROOT
from weights.loading import load_vqgan

MEGA = 2**20


def optimiser(cutouts: int, side: int) -> LatentOptimiser:
    folder = ROOT / "res" / "weights" / "sandbox"
    clip = fast_clip(folder / "clip", "cpu")
    vqgan = load_vqgan(folder / "vqgan.yaml", folder / "vqgan.safetensors")
    vqgan.to(clip.dtype, memory_format=torch.channels_last)
    random = torch.Generator().manual_seed(0)
    latent = vqgan.embed(
        torch.randint(vqgan.config.n_embed, (1, side // 8, side // 8), generator=random)
    ).float()
    targets = Targets.of(clip.encode_text(["a red circle"]), [1.0])
    guidance = Guidance([targets], steps=5, learning_rate=0.1, cutouts=cutouts)
    return LatentOptimiser(VqganDrawing(vqgan, latent, clip.dtype), clip, guidance, random)


def main(cutouts: int, cap: int, side: int) -> None:
    torch.set_num_threads(1)
    warm = optimiser(1, 128)  # whatever torch keeps for itself is there before memory is measured
    warm.advance(warm.picture())
    going = optimiser(cutouts, side)
    before = _resident()
    if cap:
        limit = _virtual() + cap * MEGA
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        loss, said = going.advance(going.picture()), ""
    except NotEnoughMemory:
        loss, said = 0.0, "not enough"
    gradient = going.tensors["latent"].grad
    free_what_is_unused()
    print(
        json.dumps(
            {
                "chunk": going.chunk,
                "loss": loss,
                "said": said,
                "gradient": [] if gradient is None else gradient.flatten().tolist(),
                "grown": (_resident() - before) / MEGA,
            }
        )
    )


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
