"""BigGAN noise and classes steered by CLIP (Murdock, "Big Sleep", 2021), from the best of many draws."""

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from generators.biggan_clip_spec import BigGANClipSpec
from generators.contract import Context, Frame, GenerationSpec
from generators.guided import (
    Moment,
    fast_clip,
    frames,
    guidance_of,
    memory_told,
    refine,
    resumed,
    targets_of,
)
from generators.memory import cutouts_together
from generators.shelf import installed, networks_of
from guidance.clip import Clip
from guidance.drawings import BigGANDrawing, draw_biggan
from guidance.latent_optimiser import LatentOptimiser
from guidance.losses import Costs, Targets
from networks.biggan import BigGAN
from weights.catalogue import WeightsEntry
from weights.loading import load_biggan

BOUND = 2.0
"""Noise is drawn from a normal distribution that ends here (Brock et al. 2019, section 3.1)."""
BATCH = 32
PARENTS = 32
"""The champions of so many classes have children first, then those of ever fewer."""
LEAST_FRESH = 0.3
"""Share of fresh noise in the last children."""
LEAD = 2.0
"""By how much the logit of the best class exceeds the others' at the start."""


@dataclass(frozen=True)
class Networks:
    """The frozen networks of one set of weights on one device."""

    biggan: BigGAN
    clip: Clip


@dataclass(frozen=True)
class Draws:
    """Random pictures, as noise (B, z_dim) and class (B,), with their scores (B,)."""

    noise: Tensor
    kinds: Tensor
    scores: Tensor

    @classmethod
    def none(cls, z_dim: int) -> "Draws":
        return cls(torch.zeros(0, z_dim), torch.zeros(0, dtype=torch.long), torch.zeros(0))

    def with_(self, other: "Draws") -> "Draws":
        pairs = ((self.noise, other.noise), (self.kinds, other.kinds), (self.scores, other.scores))
        return Draws(*(torch.cat(pair) for pair in pairs))

    def champions(self, count: int) -> "Draws":
        """The best draw of each of the best classes, the best first."""
        ranked = self.scores.argsort(descending=True, stable=True)
        first_of_kind = dict.fromkeys(self.kinds[ranked].tolist())
        best = [ranked[(self.kinds[ranked] == kind)][0] for kind in list(first_of_kind)[:count]]
        chosen = torch.stack(best)
        return Draws(self.noise[chosen], self.kinds[chosen], self.scores[chosen])


def generate(spec: GenerationSpec, context: Context) -> Iterator[Frame]:
    """Frames of the best draw so far, then of each step of guidance.

    Half of the candidates go through the classes in random order with random noise. The other half are
    children of the classes' champions, whose noise is mixed with fresh noise; a class whose champion does not
    keep up has no more of them, so that many kinds of things get a chance to take the right colours.

    Raises:
        GenerationError: the weights or a picture are missing or damaged, or there is not enough memory.
    """
    assert isinstance(spec, BigGANClipSpec)
    entry = installed(spec.weights, context.weights_dir)
    cutouts = cutouts_together(spec, entry, context)
    networks = networks_of(entry, context, _load)
    step, state = resumed(context)
    with memory_told("choose smaller weights"):
        yield from frames(_moments(spec, context, networks, cutouts, state), step)


def _moments(
    spec: BigGANClipSpec, context: Context, networks: Networks, cutouts: int, state: Mapping[str, Any] | None
) -> Iterator[Moment]:
    random = torch.Generator().manual_seed(spec.seed)
    costs = Costs(spec.total_variation, spec.saturation)
    guidance = guidance_of(spec, targets_of(spec, networks.clip, context), costs, cutouts)
    if state is None:
        guided = guidance.steps * len(guidance.chapters)
        draws = yield from _explore(spec, networks, guidance.chapters[0], random, guided)
        best = draws.champions(spec.classes)
        noise, kinds = best.noise[0], best.kinds
    else:
        noise, kinds = torch.zeros(networks.biggan.config.z_dim), state["kinds"]
    optimiser = LatentOptimiser(_drawing(spec, networks, noise, kinds), networks.clip, guidance, random)
    if state is not None:
        optimiser.restore(state["optimiser"])
    yield from refine(optimiser, 0, {"stage": "guided", "kinds": kinds})


def _explore(
    spec: BigGANClipSpec, networks: Networks, targets: Targets, random: torch.Generator, after: int
) -> Generator[Moment, None, Draws]:
    """Draw all candidates and score them; the moments show the best so far."""
    config = networks.biggan.config
    order = torch.randperm(config.num_classes, generator=random)
    done, best, picture = Draws.none(config.z_dim), -math.inf, torch.empty(0)
    for start, end in _batches(spec.candidates):
        noise = truncated_noise((end - start, config.z_dim), spec.truncation, random)
        kinds = order[torch.arange(start, end) % len(order)]
        if (late := 2 * start / spec.candidates - 1) >= 0:
            noise, kinds = _children(done.champions(round(PARENTS ** (1 - late))), noise, late)
        pictures, scores = _judged(spec, networks, targets, noise, kinds)
        if scores.max() > best:
            best, picture = scores.max().item(), pictures[scores.argmax(), None]
        done = done.with_(Draws(noise, kinds, scores))
        left = math.ceil((spec.candidates - end) / BATCH)
        if left:  # the best of all is where guidance starts
            yield Moment(picture, left + after, {"score": best})
    return done


def _batches(candidates: int) -> list[tuple[int, int]]:
    """First and last number of each batch."""
    starts = range(0, candidates, BATCH)
    return [(start, min(start + BATCH, candidates)) for start in starts]


def _children(parents: Draws, fresh: Tensor, late: float) -> tuple[Tensor, Tensor]:
    """Noise between that of a parent and ``fresh`` (B, z_dim), as normal as both; and classes (B,).

    The more of it is the parent's the later it is, from 0 to 1.
    """
    of = torch.arange(len(fresh)) % len(parents.scores)
    share = LEAST_FRESH ** (0.25 + 0.75 * late)
    return math.sqrt(1 - share**2) * parents.noise[of] + share * fresh, parents.kinds[of]


@torch.no_grad()
def _judged(
    spec: BigGANClipSpec, networks: Networks, targets: Targets, noise: Tensor, kinds: Tensor
) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) of these draws, and their scores (B,) on the CPU."""
    device, dtype = networks.clip.device, networks.clip.dtype
    classes = F.one_hot(kinds, networks.biggan.config.num_classes).to(device)
    pictures = draw_biggan(networks.biggan, noise.to(device), classes, spec.truncation, dtype)
    return pictures, targets.score(networks.clip.look(pictures)).cpu()


def _drawing(spec: BigGANClipSpec, networks: Networks, noise: Tensor, kinds: Tensor) -> BigGANDrawing:
    layers = networks.biggan.conditioning_layers if spec.each_layer else 1
    shares = torch.zeros(1, layers, len(kinds))
    shares[..., 0] = LEAD
    device = networks.clip.device
    return BigGANDrawing(
        biggan=networks.biggan,
        noise=noise.expand(1, layers, -1).to(device),
        kinds=kinds.to(device),
        shares=shares.to(device),
        truncation=spec.truncation,
        bound=BOUND * spec.truncation,
        class_rate=spec.class_rate,
        dtype=networks.clip.dtype,
    )


def truncated_noise(shape: tuple[int, int], truncation: float, random: torch.Generator) -> Tensor:
    """A normal distribution that ends at BOUND, times ``truncation``."""
    within = math.erf(BOUND / math.sqrt(2))
    return truncation * math.sqrt(2) * torch.erfinv(within * (2 * torch.rand(shape, generator=random) - 1))


def _load(entry: WeightsEntry, context: Context) -> tuple[Networks, list[torch.nn.Module]]:
    files = {network: context.weights_dir / path for network, path in entry.networks.items()}
    clip = fast_clip(files["clip"], context.device)
    biggan = load_biggan(files["biggan"].with_name("config.json"), files["biggan"], context.device)
    biggan.to(clip.dtype, memory_format=torch.channels_last)
    return Networks(biggan, clip), [biggan, clip.model]
