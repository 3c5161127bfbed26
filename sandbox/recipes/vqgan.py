"""How the sandbox VQGAN is trained: reconstruction first, then codes set by k-means and kept in use.

The codebook follows the encoder by exponential averaging (van den Oord et al. 2017, appendix A.1) and dead
codes are set to encoder outputs; the shipped weights are an exponential average of those trained.
"""

import copy
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from networks.vqgan import VQGAN, VQGANConfig
from sandbox.data import SIZE, SceneData, held_out, rendered
from sandbox.loop import Learner
from sandbox.sheet import write_sheet

# GroupNorm has 32 groups: with 32 channels each would be normalised on its own, and flat colours lost.
CONFIG = VQGANConfig(
    ch=64,
    ch_mult=(1, 1, 1, 2),
    num_res_blocks=1,
    attn_resolutions=(),
    resolution=SIZE,
    z_channels=64,
    embed_dim=32,
    n_embed=1024,
)
SEED = 1
CROP = 64
CROP_BATCH = 24
WHOLE_BATCH = 6
WHOLE_FROM = 0.3  # of the budget: from here on whole pictures instead of crops
QUANTISED_FROM = 0.05
LEARNING_RATE = 5e-4
WARM_UP = 200
COMMITMENT = 0.25
CODE_DECAY = 0.98
REVIVE_EVERY = 50
ENCODE_CHUNK = 16
DEAD_BELOW = 0.05  # of the mean use


class VqganRecipe:
    def __init__(self, data: SceneData) -> None:
        torch.manual_seed(SEED)
        self.data = data
        self.random = torch.Generator().manual_seed(SEED)
        self.network = VQGAN(CONFIG).to(memory_format=torch.channels_last)
        self.network.codebook.requires_grad_(False)
        self.usage = torch.zeros(CONFIG.n_embed)
        self.sums = torch.zeros(CONFIG.n_embed, CONFIG.embed_dim)
        self.learner = Learner(
            self.network,
            self.random,
            LEARNING_RATE,
            WARM_UP,
            weight_decay=1e-4,
            averaging=0.995,
            extra={"usage": self.usage, "sums": self.sums},
        )

    def step(self, step: int, progress: float) -> dict[str, float]:
        images = self._pictures(progress).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latent = self.network.encode(images)
            quantised = self._quantise(latent.float(), step) if progress >= QUANTISED_FROM else latent
            drawn = self.network.decode(quantised)
        drawn, latent = drawn.float(), latent.float()
        square, absolute = F.mse_loss(drawn, images), F.l1_loss(drawn, images)
        commitment = F.mse_loss(latent, quantised.detach().float())
        loss = 4 * square + absolute + COMMITMENT * commitment
        self.learner.update(loss, step, progress)
        return {"psnr": psnr(square.item()), "l1": absolute.item(), "commitment": commitment.item()}

    def _pictures(self, progress: float) -> Tensor:
        if progress >= WHOLE_FROM:
            return self.data.batch(self._indices(WHOLE_BATCH))
        images = self.data.batch(self._indices(CROP_BATCH))
        top, left = (int(torch.randint(SIZE - CROP + 1, (), generator=self.random)) for _ in range(2))
        return images[:, :, top : top + CROP, left : left + CROP]

    def _indices(self, count: int) -> Tensor:
        return torch.randint(len(self.data), (count,), generator=self.random)

    def _quantise(self, latent: Tensor, step: int) -> Tensor:
        """Codes in place of the latent, gradient straight through; moves the codebook along."""
        with torch.autocast("cpu", enabled=False):
            return self._quantise_exactly(latent, step)

    def _quantise_exactly(self, latent: Tensor, step: int) -> Tensor:
        vectors = latent.detach().permute(0, 2, 3, 1).reshape(-1, CONFIG.embed_dim)
        if not self.usage.any():
            self._set_codebook(vectors)
        codes, indices = self.network.quantize(latent)
        chosen = F.one_hot(indices.flatten(), CONFIG.n_embed).float()
        self.usage.lerp_(chosen.sum(0), 1 - CODE_DECAY)
        self.sums.lerp_(chosen.T @ vectors, 1 - CODE_DECAY)
        if step % REVIVE_EVERY == 0:
            self._revive(vectors)
        alive = self.usage > 1e-3
        self.network.codebook.data[alive] = self.sums[alive] / self.usage[alive, None]
        return latent + (codes - latent).detach()

    def _set_codebook(self, vectors: Tensor) -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            more = [self.network.encode(self._pictures(0).mul(2).sub(1)).float() for _ in range(20)]
        pool = torch.cat([vectors, *(m.permute(0, 2, 3, 1).reshape(-1, CONFIG.embed_dim) for m in more)])
        codes, counts = k_means(pool, CONFIG.n_embed, self.random)
        share = counts / len(pool) * len(vectors)
        self.usage.copy_(share)
        self.sums.copy_(codes * share[:, None])
        self.network.codebook.data.copy_(codes)

    def _revive(self, vectors: Tensor) -> None:
        mean = self.usage.mean()
        dead = (self.usage < DEAD_BELOW * mean).nonzero().flatten()
        chosen = vectors[torch.randint(len(vectors), (len(dead),), generator=self.random)]
        self.usage[dead] = 0.5 * mean
        self.sums[dead] = chosen * 0.5 * mean

    def shipped(self) -> VQGAN:
        """The averaged network with the codebook as it is."""
        network = copy.deepcopy(self.learner.average.module)
        network.codebook.data.copy_(self.network.codebook)
        return network.eval()

    def sample(self, path: Path) -> None:
        real = next(rendered(held_out(24)))
        drawn, _ = reconstruct(self.shipped(), real)
        write_sheet(path, torch.stack([real, drawn], 1).flatten(0, 1), columns=12)

    def export(self, folder: Path) -> None:
        export_vqgan(self.shipped(), folder)


def export_vqgan(network: VQGAN, folder: Path) -> None:
    """Write weights as float16 safetensors and the configuration beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    network.config.to_yaml(folder / "vqgan.yaml")
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "vqgan.safetensors")


@torch.no_grad()
def scene_codes(data: SceneData, vqgan: VQGAN, file: Path) -> Tensor:
    """Codes of all scenes, (count, grid, grid) int16, kept in ``file``."""
    if not file.exists():
        vqgan = vqgan.to(memory_format=torch.channels_last)
        chunks = []
        for indices in tqdm(torch.arange(len(data)).split(ENCODE_CHUNK), "encoding scenes", unit="chunk"):
            images = data.batch(indices).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                chunks.append(vqgan.quantize(vqgan.encode(images).float())[1].short())
        np.save(file, torch.cat(chunks).numpy())
    return torch.from_numpy(np.load(file))


@torch.no_grad()
def reconstruct(network: VQGAN, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) in [0, 1] through the codes and back, and the codes (B, h, w)."""
    with torch.autocast("cpu", torch.bfloat16):
        codes, indices = network.quantize(network.encode(images * 2 - 1).float())
        drawn = network.decode(codes)
    return drawn.float().add(1).div(2).clamp(0, 1), indices


def psnr(square_error: float) -> float:
    """Peak signal-to-noise ratio in dB for a mean square error on [-1, 1] images."""
    return 10 * math.log10(4 / square_error)


def k_means(points: Tensor, count: int, random: torch.Generator, rounds: int = 12) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from random points: centres (count, D) and how many points each has."""
    centres = points[torch.randperm(len(points), generator=random)[:count]].clone()
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        counts = torch.bincount(nearest, minlength=count).float()
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return centres, counts
