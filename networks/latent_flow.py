"""A text-conditional prior over VQGAN latents: a rectified flow whose transformer imagines the clean scene.

Straight paths from noise to latents (Liu et al. 2022; Esser et al. 2024), in the few directions in which the
codebook's vectors differ at all. The network predicts the clean latent rather than the velocity (Li and He
2025). Convolutions see fine places; the transformer sees blocks of PATCH x PATCH of them, after the text's
words; time reaches every block as a shift and scale (Chen et al., "PixArt-alpha", 2023).
"""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PATCH = 2
FREQUENCIES = 64
SHIFT = 2.0


@dataclass(frozen=True)
class LatentFlowConfig:
    """``embed_dim`` and ``grid`` of the VQGAN's latents; ``directions`` of them that are kept.

    ``context`` is the most text tokens, ``width`` the transformer's, ``details`` the convolutions'.
    """

    embed_dim: int
    directions: int
    grid: int
    vocabulary: int
    context: int
    width: int = 256
    layers: int = 6
    heads: int = 4
    widening: int = 3
    details: int = 64


class LatentFlow(nn.Module):
    """The clean latent behind a noisy one, given a text."""

    def __init__(self, config: LatentFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.embed_dim))
        self.register_buffer("basis", torch.eye(config.directions, config.embed_dim))
        width, details, patch = config.width, config.details, PATCH**2 * config.details
        self.words = nn.Embedding(config.vocabulary, width)
        self.position = nn.Parameter(torch.zeros(config.context, width))
        self.enter = nn.Conv2d(config.directions, details, 3, padding=1)
        self.stem = Convolutions(details, width)
        self.gather = nn.Linear(patch, width)
        self.place = nn.Parameter(_places(config.grid // PATCH, width))
        self.time = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.modulate = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.widening) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.spread = nn.Linear(width, patch)
        self.join = nn.Conv2d(2 * details, details, 1)
        self.head = nn.ModuleList(Convolutions(details, width) for _ in range(2))
        self.leave = nn.Conv2d(details, config.directions, 3, padding=1)
        self.apply(_initialise)
        nn.init.zeros_(self.modulate.weight)

    def forward(self, noisy: Tensor, time: Tensor, text: Tensor, heard: Tensor) -> Tensor:
        """Guess the clean latent.

        Args:
            noisy: (B, directions, grid, grid), ``(1 - time) * clean + time * noise``, deviation about 1.
            time: (B,) in [0, 1], 1 where all is noise.
            text: (B, T) int64 token ids, T at most ``context``.
            heard: (B, T) bool, False where the text is padding or kept back.

        Returns:
            (B, directions, grid, grid).
        """
        half = self.config.grid // PATCH
        moment = self.time(_waves(time).to(self.place.dtype))
        fine = self.stem(self.enter(noisy.contiguous(memory_format=torch.channels_last)), moment)
        patches = F.pixel_unshuffle(fine, PATCH).flatten(2).transpose(1, 2)
        seen = self.gather(patches) + self.place
        x = torch.cat([self.words(text) + self.position[: text.shape[1]], seen], 1)
        audible = F.pad(heard, (0, seen.shape[1]), value=True)[:, None, None, :]
        modulation = self.modulate(moment).unflatten(1, (6, 1, -1)).unbind(1)
        for block in self.blocks:
            x = block(x, audible, modulation)
        drawn = self.spread(self.norm(x[:, text.shape[1] :])).transpose(1, 2).unflatten(2, (half, half))
        fine = self.join(torch.cat([fine, F.pixel_shuffle(drawn, PATCH)], 1))
        for convolutions in self.head:
            fine = convolutions(fine, moment)
        return self.leave(F.silu(fine))

    def fit(self, latents: Tensor) -> None:
        """Take the directions in which ``latents`` (N, embed_dim) differ most, each scaled to deviation 1."""
        mean = latents.mean(0)
        _, spread, directions = torch.linalg.svd(latents - mean, full_matrices=False)
        deviation = spread[: self.config.directions] / math.sqrt(len(latents))
        self.mean.copy_(mean)
        self.basis.copy_(directions[: self.config.directions] * deviation[:, None])

    def project(self, latents: Tensor) -> Tensor:
        """VQGAN latents (B, embed_dim, h, w) along the directions, (B, directions, h, w)."""
        square = self.basis.square().sum(1, keepdim=True)
        centred = latents.movedim(1, -1) - self.mean
        return (centred @ (self.basis / square).T).movedim(-1, 1)

    def lift(self, clean: Tensor) -> Tensor:
        """Back from the directions to VQGAN latents."""
        return (clean.movedim(1, -1) @ self.basis + self.mean).movedim(-1, 1)


class Convolutions(nn.Module):
    """Two 3x3 convolutions before a residual sum, their input scaled and shifted by the time."""

    def __init__(self, channels: int, time_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.modulate = nn.Linear(time_width, 2 * channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        scale, shift = self.modulate(moment)[:, None, None].chunk(2, -1)
        level = (self.norm(x.permute(0, 2, 3, 1)) * (1 + scale) + shift).permute(0, 3, 1, 2)
        return x + self.conv2(F.silu(self.conv1(F.silu(level))))


class Block(nn.Module):
    """Attention, then a wider layer, each before a residual sum, both shifted and scaled by the time."""

    def __init__(self, width: int, heads: int, widening: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, widening * width), nn.Linear(widening * width, width)
        start = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
        self.modulation = nn.Parameter(start[:, None].expand(6, width).clone())

    def forward(self, x: Tensor, audible: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            own + shared for own, shared in zip(self.modulation, modulation, strict=True)
        )
        x = x + gate1 * self.out(self._attend(self.qkv(self.norm1(x) * scale1 + shift1), audible))
        return x + gate2 * self.narrow(F.gelu(self.wide(self.norm2(x) * scale2 + shift2)))

    def _attend(self, qkv: Tensor, audible: Tensor) -> Tensor:
        """Plain products: fused attention's backward is slow on CPUs for sequences this short."""
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        weights = scores.masked_fill(~audible, -1e4).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)


@torch.no_grad()
def sample_rounds(
    flow: LatentFlow,
    text: Tensor,
    heard: Tensor,
    random: torch.Generator,
    *,
    rounds: int = 12,
    text_strength: float = 3.0,
    start: Tensor | None = None,
    afresh: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """From noise to latents in a few steps along the flow.

    ``text_strength`` is the scale of classifier-free guidance (Ho and Salimans 2022). With ``start``, VQGAN
    latents (B, embed_dim, grid, grid), only the share ``afresh`` of it becomes noise, and what the network
    believes in is kept (Meng et al., "SDEdit", 2022). The network computes in ``dtype``. All random numbers
    come from the CPU, so that a seed means the same on every device.

    Yields:
        (B, embed_dim, grid, grid) VQGAN latents after each round: what the network makes of the noise so far.
    """
    grid = flow.config.grid
    x = torch.randn(len(text), flow.config.directions, grid, grid, generator=random).to(text.device)
    if start is not None:
        x = flow.project(start).lerp(x, afresh)
    both_texts, both_heard = text.repeat(2, 1), torch.cat([heard, torch.zeros_like(heard)])
    for now, then in itertools.pairwise(_times(rounds, afresh)):
        time = torch.full((len(both_texts),), now, device=x.device)
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            imagined = flow(x.repeat(2, 1, 1, 1), time, both_texts, both_heard)
        with_text, without = imagined.float().chunk(2)
        clean = without + text_strength * (with_text - without)
        yield flow.lift(clean)
        x = clean + then / now * (x - clean)


def _times(rounds: int, first: float) -> list[float]:
    """From ``first`` to 0, closer together where there is most noise: that is where the layout is decided."""
    even = [1 - done / rounds for done in range(rounds + 1)]
    return [first * SHIFT * time / (1 + (SHIFT - 1) * time) for time in even]


def save_prior(flow: LatentFlow, path: Path) -> None:
    """Write the weights as float16 safetensors, the configuration in the file's header."""
    state = {name: value.half().contiguous() for name, value in flow.state_dict().items()}
    save_file(state, path, metadata={"config": json.dumps(asdict(flow.config))})


def load_prior(path: Path, device: str = "cpu") -> LatentFlow:
    """Read what ``save_prior`` wrote: a frozen network in float32."""
    with safe_open(path, "pt") as file:
        config = LatentFlowConfig(**json.loads(file.metadata()["config"]))
    flow = LatentFlow(config)
    flow.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return flow.to(device).eval().requires_grad_(False)


def _places(side: int, width: int) -> Tensor:
    """Where the transformer's places lie, as waves along both axes, (side * side, width): a start."""
    rates = torch.exp(torch.arange(width // 4) * (-math.log(100) * 4 / width))
    angles = torch.arange(side)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1) / 2


def _waves(time: Tensor) -> Tensor:
    rates = torch.exp(torch.arange(FREQUENCIES, device=time.device) * (-math.log(1000) / FREQUENCIES)) * 100
    angles = time.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
