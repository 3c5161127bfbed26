"""A text-conditional prior over VQGAN codes: a masked-token transformer (Chang et al., "MaskGIT", 2022).

Neighbouring codes share a place: the transformer sees one vector for each PATCH x PATCH block of codes, which
costs a quarter of the places at PATCH = 2, while every code is still masked and predicted on its own.
"""

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


@dataclass(frozen=True)
class TokenPriorConfig:
    """``grid`` is the side of the square of codes; ``context`` the most text tokens."""

    n_embed: int
    grid: int
    vocabulary: int
    context: int
    width: int = 256
    layers: int = 6
    heads: int = 4
    code_width: int = 64


class TokenPrior(nn.Module):
    """Logits for every code of a partly masked grid, given a text."""

    def __init__(self, config: TokenPriorConfig) -> None:
        super().__init__()
        self.config = config
        places = (config.grid // PATCH) ** 2
        self.codes = nn.Embedding(config.n_embed + 1, config.code_width)
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.gather = nn.Linear(PATCH**2 * config.code_width, config.width)
        self.place = nn.Parameter(torch.zeros(places, config.width))
        self.position = nn.Parameter(torch.zeros(config.context, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.spread = nn.Linear(config.width, PATCH**2 * config.code_width)
        self.bias = nn.Parameter(torch.zeros(config.n_embed))
        self.apply(_initialise)

    @property
    def mask(self) -> int:
        """The index that stands for a code not yet known."""
        return self.config.n_embed

    def forward(self, codes: Tensor, text: Tensor, heard: Tensor) -> Tensor:
        """Predict all codes; see ``summarise`` for the arguments.

        Returns:
            (B, grid, grid, n_embed) logits.
        """
        return self.logits(self.summarise(codes, text, heard))

    def logits(self, summaries: Tensor) -> Tensor:
        """How likely each code is where ``summaries`` (..., code_width) come from, (..., n_embed)."""
        return summaries @ self.codes.weight[:-1].T + self.bias

    def summarise(self, codes: Tensor, text: Tensor, heard: Tensor) -> Tensor:
        """What is known about the code at every place.

        Args:
            codes: (B, grid, grid) int64, ``mask`` where unknown.
            text: (B, T) int64 token ids, T at most ``context``.
            heard: (B, T) bool, False where the text is padding or kept back.

        Returns:
            (B, grid, grid, code_width).
        """
        grid, half = self.config.grid, self.config.grid // PATCH
        blocks = codes.unflatten(2, (half, PATCH)).unflatten(1, (half, PATCH)).transpose(2, 3)
        seen = self.gather(self.codes(blocks).flatten(3).flatten(1, 2)) + self.place
        prefix = self.words(text) + self.position[: text.shape[1]]
        x = torch.cat([prefix, seen], 1)
        audible = F.pad(heard, (0, seen.shape[1]), value=True)[:, None, None, :]
        for block in self.blocks:
            x = block(x, audible)
        spread = self.spread(self.norm(x[:, text.shape[1] :]))
        vectors = spread.unflatten(2, (PATCH, PATCH, -1)).unflatten(1, (half, half)).transpose(2, 3)
        return vectors.reshape(len(codes), grid, grid, -1)


class Block(nn.Module):
    """Attention, then a wider layer, each before a residual sum (pre-norm)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, audible: Tensor) -> Tensor:
        x = x + self.out(self._attend(self.qkv(self.norm1(x)), audible))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))

    def _attend(self, qkv: Tensor, audible: Tensor) -> Tensor:
        """Plain products: fused attention's backward is slow on CPUs for sequences this short."""
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        weights = scores.masked_fill(~audible, -1e4).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)


@torch.no_grad()
def sample_rounds(
    prior: TokenPrior,
    text: Tensor,
    heard: Tensor,
    random: torch.Generator,
    *,
    rounds: int = 12,
    temperature: float = 0.7,
    choice_temperature: float = 4.0,
    text_strength: float = 3.0,
) -> Iterator[Tensor]:
    """Fill an empty grid in a few rounds, the surest codes first (MaskGIT, section 3.2).

    ``text_strength`` is the scale of classifier-free guidance (Ho and Salimans 2022; 1: none),
    ``choice_temperature`` the Gumbel noise on what counts as sure, annealed to 0. All random numbers come
    from the CPU, so that a seed means the same on every device.

    Yields:
        (B, grid, grid) int64 codes after each round; all but the last still hold guesses.
    """
    config = prior.config
    total = config.grid**2
    codes = torch.full((len(text), total), prior.mask, device=text.device)
    for done in range(rounds):
        square = codes.unflatten(1, (config.grid, config.grid))
        logits = _guided_logits(prior, square, text, heard, text_strength).float().flatten(1, 2)
        drawn = (logits / temperature + _gumbel(logits.shape, random).to(logits.device)).argmax(-1)
        known = codes != prior.mask
        drawn = torch.where(known, codes, drawn)
        yield drawn.unflatten(1, (config.grid, config.grid))
        remaining = 1 - (done + 1) / rounds
        sureness = logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
        sureness += choice_temperature * remaining * _gumbel(sureness.shape, random).to(logits.device)
        masked = math.floor(total * math.cos(math.pi / 2 * (1 - remaining)))
        unsure = sureness.masked_fill(known, math.inf).topk(masked, largest=False).indices
        codes = drawn.scatter(1, unsure, prior.mask)


def save_prior(prior: TokenPrior, path: Path) -> None:
    """Write the weights as float16 safetensors, the configuration in the file's header."""
    state = {name: value.half().contiguous() for name, value in prior.state_dict().items()}
    save_file(state, path, metadata={"config": json.dumps(asdict(prior.config))})


def load_prior(path: Path, device: str = "cpu") -> TokenPrior:
    """Read what ``save_prior`` wrote: a frozen network in float32."""
    with safe_open(path, "pt") as file:
        config = TokenPriorConfig(**json.loads(file.metadata()["config"]))
    prior = TokenPrior(config)
    prior.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return prior.to(device).eval().requires_grad_(False)


def _guided_logits(prior: TokenPrior, codes: Tensor, text: Tensor, heard: Tensor, strength: float) -> Tensor:
    if strength == 1:
        return prior(codes, text, heard)
    both = prior(codes.repeat(2, 1, 1), text.repeat(2, 1), torch.cat([heard, torch.zeros_like(heard)]))
    with_text, without = both.chunk(2)
    return without + strength * (with_text - without)


def _gumbel(shape: torch.Size, random: torch.Generator) -> Tensor:
    uniform = torch.rand(shape, generator=random).clamp(1e-9, 1 - 1e-7)
    return -(-uniform.log()).log()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
