"""BigGAN noise and classes steered by CLIP (Murdock, "Big Sleep", 2021), from the best of many draws."""

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
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
from generators.memory import cutouts_together, memory_need
from generators.shelf import installed, memory_of_job, networks_of
from guidance.clip import Clip
from guidance.drawings import BigGANDrawing, draw_biggan
from guidance.latent_optimiser import MOMENTS, LatentOptimiser
from guidance.losses import Costs, Targets
from guidance.memory import halving
from networks.biggan import BigGAN
from weights.catalogue import WeightsEntry
from weights.loading import load_biggan

BOUND = 2.0
"""Noise is drawn from a normal distribution that ends here (Brock et al. 2019, section 3.1)."""
BATCH = 32
DRAWN_PIXELS = 2 * 512 * 512
"""At most so many are drawn together."""
PROMISING = 40
"""So many classes have most of the candidates."""
ELSEWHERE = {True: 0.3, False: 0.75}
"""Share of the candidates that go through all classes, with and without an atlas."""
ATLAS_WEIGHT = 0.3
"""How much it counts beside a draw's own score that its class usually fits."""
OF_A_CLASS = 2
"""At most so many contestants are."""
ROUNDS = ((1, 6), (2, 6), (4, 8), (8, 10))
"""Of the contestants one in so many goes on, for so many steps."""
CONTEST_RATE = 0.2
CONTEST_PIXELS = 16 * 64 * 64
"""At most so many are drawn together with a gradient."""
LEAD = 2.0
"""By how much the logit of the best class exceeds the others' at the start."""


@dataclass(frozen=True)
class Networks:
    """The frozen networks of one set of weights on one device."""

    biggan: BigGAN
    clip: Clip
    atlas: Tensor | None

    def prior(self, targets: Targets) -> Tensor:
        """What a class's usual picture adds to the merit of its draws, (num_classes,)."""
        if self.atlas is None:
            return torch.zeros(self.biggan.config.num_classes)
        return ATLAS_WEIGHT * targets.score(self.atlas).cpu()


@dataclass(frozen=True)
class Draws:
    """Pictures as noise (B, z_dim) and class (B,), with their scores (B,).

    Their merit is the score and what the class adds to it. By the score of single draws alone, a bottle in
    the right colours goes before a bird in the wrong ones.
    """

    noise: Tensor
    kinds: Tensor
    scores: Tensor
    prior: Tensor

    @classmethod
    def none(cls, z_dim: int, prior: Tensor) -> "Draws":
        return cls(torch.zeros(0, z_dim), torch.zeros(0, dtype=torch.long), torch.zeros(0), prior)

    @property
    def merits(self) -> Tensor:
        return self.scores + self.prior[self.kinds]

    @property
    def by_merit(self) -> Tensor:
        """Their numbers, the best first."""
        return self.merits.argsort(descending=True, stable=True)

    def with_(self, other: "Draws") -> "Draws":
        pairs = ((self.noise, other.noise), (self.kinds, other.kinds), (self.scores, other.scores))
        return Draws(*(torch.cat(pair) for pair in pairs), self.prior)

    def best(self, count: int, of_a_class: int) -> "Draws":
        """The best ``count``, the best first, with at most ``of_a_class`` of each class."""
        taken: dict[int, int] = {}
        chosen = []
        for number in self.by_merit.tolist():
            kind = int(self.kinds[number])
            taken[kind] = taken.get(kind, 0) + 1
            if taken[kind] <= of_a_class:
                chosen.append(number)
        return self.of(torch.tensor(chosen[:count], dtype=torch.long))

    def of(self, numbers: Tensor) -> "Draws":
        return Draws(self.noise[numbers], self.kinds[numbers], self.scores[numbers], self.prior)

    def or_better(self, noise: Tensor, scores: Tensor) -> "Draws":
        """Of each the better one, other noise of the same class or its own."""
        better = torch.where((scores > self.scores)[:, None], noise, self.noise)
        return Draws(better, self.kinds, self.scores.maximum(scores), self.prior)


def generate(spec: GenerationSpec, context: Context) -> Iterator[Frame]:
    """Frames of the best draw so far, then of the contest of the best draws, then of its winner's guidance.

    Some candidates go through all classes in random order, the others through the most promising: those that
    the weights' atlas says usually fit, or without an atlas those of the best draws. In the contest the best
    ones follow CLIP's gradient side by side, ever fewer of them.

    Raises:
        GenerationError: the weights or a picture are missing or damaged, or there is not enough memory.
    """
    assert isinstance(spec, BigGANClipSpec)
    entry = installed(spec.weights, context.weights_dir)
    cutouts = cutouts_together(spec, entry, memory_of_job(context))
    step, state = resumed(context)
    with memory_told("choose smaller weights"):
        networks = networks_of(entry, context, _load, memory_need(spec, entry, cutouts))
        yield from frames(_moments(spec, context, networks, cutouts, state), step)


def _moments(
    spec: BigGANClipSpec, context: Context, networks: Networks, cutouts: int, state: Mapping[str, Any] | None
) -> Iterator[Moment]:
    random = torch.Generator().manual_seed(spec.seed)
    costs = Costs(spec.total_variation, spec.saturation)
    guidance = guidance_of(spec, targets_of(spec, networks.clip, context), costs, cutouts)
    if state is None:
        guided = guidance.steps * len(guidance.chapters)
        best = yield from _start(spec, networks, guidance.chapters[0], random, guided)
        noise, kinds = best.noise[0], best.kinds
    else:
        noise, kinds = torch.zeros(networks.biggan.config.z_dim), state["kinds"]
    optimiser = LatentOptimiser(_drawing(spec, networks, noise, kinds), networks.clip, guidance, random)
    if state is not None:
        optimiser.restore(state["optimiser"])
    yield from refine(optimiser, 0, {"stage": "guided", "kinds": kinds})


def _start(
    spec: BigGANClipSpec, networks: Networks, targets: Targets, random: torch.Generator, after: int
) -> Generator[Moment, None, Draws]:
    """The best of each of the best classes after draws and contest, the best first."""
    contest = sum(steps for _, steps in ROUNDS) if spec.contestants else 0
    draws = yield from _draw(spec, networks, targets, random, contest + after)
    if spec.contestants:
        contestants = draws.best(spec.contestants, OF_A_CLASS)
        draws = draws.with_((yield from _contest(spec, networks, targets, contestants, after)))
    return draws.best(spec.classes, of_a_class=1)


def _draw(
    spec: BigGANClipSpec, networks: Networks, targets: Targets, random: torch.Generator, after: int
) -> Generator[Moment, None, Draws]:
    """Draw all candidates and score them; the moments show the best so far."""
    config, has_atlas = networks.biggan.config, networks.atlas is not None
    kinds = torch.randperm(config.num_classes, generator=random)
    done = Draws.none(config.z_dim, networks.prior(targets))
    best, picture = -math.inf, torch.empty(0)
    for start, end in _batches(spec.candidates):
        if start >= ELSEWHERE[has_atlas] * spec.candidates > 0 and len(kinds) > PROMISING:
            fitting = done.prior.argsort(descending=True, stable=True)
            kinds = fitting[:PROMISING] if has_atlas else done.best(PROMISING, of_a_class=1).kinds
        noise = truncated_noise((end - start, config.z_dim), spec.truncation, random)
        asked = kinds[torch.arange(start, end) % len(kinds)]
        pictures, scores = _judged(spec, networks, targets, noise, asked)
        drawn = Draws(noise, asked, scores, done.prior)
        if drawn.merits.max() > best:
            best, picture = drawn.merits.max().item(), pictures[drawn.by_merit[:1]]
        done = done.with_(drawn)
        left = math.ceil((spec.candidates - end) / BATCH)
        if left:  # the best of all is where the contest starts
            yield Moment(picture, left + after, {"score": done.of(done.by_merit[:1]).scores.item()})
    return done


def _contest(
    spec: BigGANClipSpec, networks: Networks, targets: Targets, best: Draws, after: int
) -> Generator[Moment, None, Draws]:
    """Lead draws towards the targets side by side, by rounds that ever fewer of them reach.

    Returns the best that each came to; the moments show the best of all.
    """
    noise = best.noise.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([noise], lr=CONTEST_RATE * spec.truncation, betas=MOMENTS)
    left = sum(steps for _, steps in ROUNDS) + after
    for one_in, steps in ROUNDS:
        racing = best.by_merit[: math.ceil(len(noise) / one_in)]
        for _ in range(steps):
            scores = _climb(spec, networks, targets, noise, best.kinds, racing)
            best = best.or_better(noise.detach(), scores)
            optimiser.step()
            noise.data.clamp_(-spec.reach * spec.truncation, spec.reach * spec.truncation)
            winner = best.of(best.by_merit[:1])
            picture, _ = _judged(spec, networks, targets, winner.noise, winner.kinds)
            yield Moment(picture, left, {"score": winner.scores.item()})
            left -= 1
    return best


def _climb(
    spec: BigGANClipSpec, networks: Networks, targets: Targets, noise: Tensor, kinds: Tensor, racing: Tensor
) -> Tensor:
    """Give ``noise`` (B, z_dim) its gradient; the scores (B,) of those that are ``racing``, else -inf."""

    def climb(together: int) -> Tensor:
        noise.grad = None
        scores = torch.full((len(noise),), -math.inf)
        for some in racing.split(together):
            found = targets.score(networks.clip.look(_drawn(spec, networks, noise[some], kinds[some])))
            (-found.sum()).backward()
            scores[some] = found.detach().cpu()
        return scores

    return halving(_together(networks, CONTEST_PIXELS), climb)[0]


def _batches(candidates: int) -> list[tuple[int, int]]:
    """First and last number of each batch."""
    starts = range(0, candidates, BATCH)
    return [(start, min(start + BATCH, candidates)) for start in starts]


@torch.no_grad()
def _judged(
    spec: BigGANClipSpec, networks: Networks, targets: Targets, noise: Tensor, kinds: Tensor
) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) of these draws, and their scores (B,) on the CPU."""

    def judge(together: int) -> tuple[Tensor, Tensor]:
        pairs = zip(noise.split(together), kinds.split(together), strict=True)
        pictures = [_drawn(spec, networks, *pair) for pair in pairs]
        seen = torch.cat([networks.clip.look(some) for some in pictures])
        return torch.cat(pictures), targets.score(seen).cpu()

    return halving(_together(networks, DRAWN_PIXELS), judge)[0]


def _together(networks: Networks, pixels: int) -> int:
    """How many pictures have so many pixels; at least one."""
    return max(1, pixels // networks.biggan.config.output_dim**2)


def _drawn(spec: BigGANClipSpec, networks: Networks, noise: Tensor, kinds: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] of noise (B, z_dim) and classes (B,), differentiable."""
    device, dtype = networks.clip.device, networks.clip.dtype
    classes = F.one_hot(kinds, networks.biggan.config.num_classes).to(device)
    return draw_biggan(networks.biggan, noise.to(device), classes, spec.truncation, dtype)


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
        bound=spec.reach * spec.truncation,
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
    atlas = load_file(files["atlas"])["classes"].float().to(context.device) if "atlas" in files else None
    return Networks(biggan, clip, atlas), [biggan, clip.model]


@torch.no_grad()
def draw_atlas(biggan: BigGAN, clip: Clip, pairs: int = 8) -> Tensor:
    """What CLIP sees in a usual picture of each class: unit vectors (num_classes, D).

    Each is the mean over ``pairs`` of random noise and its opposite, so that what noise changes cancels out.
    """
    config, random = biggan.config, torch.Generator().manual_seed(0)
    rows = []
    for some in torch.arange(config.num_classes).split(BATCH):
        noise = truncated_noise((pairs * len(some), config.z_dim), 1.0, random)
        classes = F.one_hot(some.repeat(pairs), config.num_classes).to(clip.device)
        seen = [
            clip.look(draw_biggan(biggan, signed.to(clip.device), classes, 1.0, clip.dtype))
            for signed in (noise, -noise)
        ]
        rows.append(torch.stack(seen).unflatten(1, (pairs, len(some))).float().mean((0, 1)))
    return F.normalize(torch.cat(rows), dim=1).cpu()
