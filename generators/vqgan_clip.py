"""VQGAN latent optimisation steered by CLIP, from noise, from a picture, or from what the prior imagines."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from generators import starts
from generators.contract import Context, Frame, GenerationError, GenerationSpec
from generators.guided import (
    Moment,
    fast_clip,
    frames,
    guidance_of,
    memory_told,
    picture_of,
    refine,
    resize,
    resumed,
    targets_of,
)
from generators.memory import cutouts_together, memory_need
from generators.shelf import installed, memory_of_job, networks_of
from generators.vqgan_clip_spec import GRID, Start, VqganClipSpec
from guidance.camera import Move
from guidance.clip import Clip
from guidance.drawings import Mask, VqganDrawing, as_picture
from guidance.latent_optimiser import Guidance, LatentOptimiser
from guidance.losses import Costs
from guidance.memory import halving
from guidance.prompts import parse_prompt
from networks.latent_flow import LatentFlow, sample_rounds
from networks.vqgan import VQGAN
from weights.catalogue import WeightsEntry
from weights.loading import load_prior, load_vqgan

ROUNDS = 12
"""In so many rounds the prior goes from noise to a scene."""
SETTLING_ROUNDS = 4

Stage = Generator[Moment, None, Tensor]
"""Moments, and at the end a latent or a picture."""


@dataclass(frozen=True)
class Networks:
    """The frozen networks of one set of weights on one device."""

    vqgan: VQGAN
    clip: Clip
    prior: LatentFlow | None

    def encode(self, picture: Tensor) -> Tensor:
        """A picture (1, 3, H, W) in [0, 1] to what guidance moves, (1, embed_dim, h, w) float32."""
        latent = self.vqgan.encode((picture.to(self.clip.device) * 2 - 1).to(self.clip.dtype))
        return (self.vqgan.quantize(latent)[0] if self.vqgan.config.gumbel else latent).float()

    def draw(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) through the codebook to pictures (B, 3, H, W) in [0, 1]."""
        return as_picture(self.vqgan.decode(self.vqgan.nearest(latents).to(self.clip.dtype)))


def generate(spec: GenerationSpec, context: Context) -> Iterator[Frame]:
    """Frames from the start to the finished picture.

    First the prior's rounds, then the steps of guidance, chapter by chapter, then the prior once more:
    guidance leaves stains in the picture, and the prior knows that no scene has them. A second pass draws the
    picture again, larger.

    Raises:
        GenerationError: the weights or a picture are missing or damaged, there is no prior to start from, or
            not enough memory.
    """
    assert isinstance(spec, VqganClipSpec)
    entry = installed(spec.weights, context.weights_dir)
    cutouts = cutouts_together(spec, entry, memory_of_job(context))
    step, state = resumed(context)
    with memory_told("choose a smaller size, or no second pass"):
        networks = networks_of(entry, context, _load, memory_need(spec, entry, cutouts))
        yield from frames(_Painting(spec, context, networks, cutouts).moments(state), step)


class _Painting:
    """One job: its stages in their order."""

    def __init__(self, spec: VqganClipSpec, context: Context, networks: Networks, cutouts: int) -> None:
        self.spec, self.context, self.networks, self.cutouts = spec, context, networks, cutouts
        self.random = torch.Generator().manual_seed(spec.seed)
        self.chapters = parse_prompt(spec.prompt)
        self.targets = targets_of(spec, networks.clip, context)
        self.size = (spec.height, spec.width)
        self.guided = spec.steps * len(self.chapters)
        self.settled = SETTLING_ROUNDS if self._settles() else 0
        self.enlarged = spec.enlarge_steps + 1 if spec.enlarge > 1 else 0

    def moments(self, state: Mapping[str, Any] | None) -> Iterator[Moment]:
        """All stages, or those from the one on that ``state`` is of."""
        if state is not None and state["stage"] == "enlarged":
            yield from self._second_pass(torch.zeros(1, 3, *self.size), state)
            return
        picture = yield from self._first_pass(state)
        if self.enlarged:
            yield from self._second_pass(picture, None)

    def _first_pass(self, state: Mapping[str, Any] | None) -> Stage:
        if state is None:
            latent = yield from self._start()
        else:
            latent = torch.zeros(1, self.networks.vqgan.config.embed_dim, *self._grid)
        optimiser = self._optimiser(latent, self.size)
        if state is not None:
            optimiser.restore(state["optimiser"])
        between = self._move_camera if self.spec.moves else None
        picture = yield from refine(optimiser, self.settled + self.enlarged, {"stage": "guided"}, between)
        self.cutouts = optimiser.chunk  # a second pass goes on with as many together
        return (yield from self._settle(optimiser)) if self.settled else picture

    def _second_pass(self, picture: Tensor, state: Mapping[str, Any] | None) -> Iterator[Moment]:
        larger = tuple(round(side * self.spec.enlarge / GRID) * GRID for side in self.size)
        height, width = larger
        with torch.no_grad():
            latent = self.networks.encode(resize(picture, (height, width)))
        optimiser = self._optimiser(latent, (height, width))
        optimiser.guidance = self._continued(optimiser.guidance)
        if state is not None:
            optimiser.restore(state["optimiser"])
        yield from refine(optimiser, 0, {"stage": "enlarged"})

    def _optimiser(self, latent: Tensor, size: tuple[int, int]) -> LatentOptimiser:
        original = None if self._original is None else resize(self._original, size)
        costs = Costs(
            total_variation=self.spec.total_variation,
            saturation=self.spec.saturation,
            keep_close=self.spec.keep_close,
            original=original,
        )
        guidance = replace(
            guidance_of(self.spec, self.targets, costs, self.cutouts),
            keep_close_decay=self.spec.keep_close_decay,
            until_converged=not self.spec.moves,
        )
        latent = latent.to(self.networks.clip.device)
        drawing = VqganDrawing(self.networks.vqgan, latent, self.networks.clip.dtype, self._mask(size))
        return LatentOptimiser(drawing, self.networks.clip, guidance, self.random)

    def _continued(self, first: Guidance) -> Guidance:
        """The second pass goes on with the last chapter, as close to the original as the first pass ended."""
        kept = first.costs.keep_close * (1 - first.keep_close_decay)
        return replace(
            first,
            chapters=first.chapters[-1:],
            steps=self.spec.enlarge_steps,
            costs=replace(first.costs, keep_close=kept),
            keep_close_decay=0.0,
        )

    def _start(self) -> Stage:
        """The latent to begin with."""
        if self._original is not None:
            return (yield from self._start_from(self.networks.encode(self._original)))
        match self.spec.init:
            case Start.PRIOR:
                return (yield from self._imagine(None, 1.0))
            case Start.NOISE:
                return starts.random_codes(self.networks.vqgan, self._grid, self.random)
            case Start.PIXELS:
                return self.networks.encode(starts.random_pixels(self.size, self.random))
            case Start.GRADIENT:
                return self.networks.encode(starts.random_gradient(self.size, self.random))

    def _start_from(self, latent: Tensor) -> Stage:
        """The start image's latent, as far as asked imagined afresh."""
        afresh = self.spec.start_afresh
        if not afresh:
            return latent
        if self._fits_prior():
            return (yield from self._imagine(latent, afresh))
        return latent.lerp(starts.random_codes(self.networks.vqgan, self._grid, self.random), afresh)

    @torch.no_grad()
    def _imagine(self, start: Tensor | None, afresh: float) -> Stage:
        """Many scenes from the prior: moments of the one that CLIP finds best, and its latent."""
        networks, prior = self.networks, self.networks.prior
        if prior is None:
            raise GenerationError(
                f"The weights '{self.spec.weights}' have no prior; choose the start 'noise'."
            )
        ids, heard = networks.clip.tokens([self.chapters[0].wanted] * self.spec.candidates)
        begun = None if start is None else start.expand(len(ids), -1, -1, -1)
        rounds = list(
            sample_rounds(
                prior,
                ids,
                heard,
                self.random,
                rounds=ROUNDS,
                start=begun,
                afresh=afresh,
                dtype=networks.clip.dtype,
            )
        )
        best = self._scores(rounds[-1]).argmax()
        pictures = [resize(networks.draw(latents[best, None]), self.size) for latents in rounds]
        for done, picture in enumerate(pictures[:-1], 1):
            left = len(pictures) - done + self.guided + self.settled + self.enlarged
            yield Moment(self._kept(picture), left)
        return rounds[-1][best, None] if self._fits_prior() else networks.encode(pictures[-1])

    def _scores(self, latents: Tensor) -> Tensor:
        """How well the pictures of latents (B, C, h, w) fit the first chapter, (B,)."""

        def seen(together: int) -> Tensor:
            look = self.networks.clip.look
            return torch.cat([look(self.networks.draw(some)) for some in latents.split(together)])

        return self.targets[0].score(halving(len(latents), seen)[0])

    @torch.no_grad()
    def _settle(self, optimiser: LatentOptimiser) -> Stage:
        prior, clip = self.networks.prior, self.networks.clip
        assert prior is not None
        ids, heard = clip.tokens([self.chapters[-1].wanted])
        rounds = sample_rounds(
            prior,
            ids,
            heard,
            self.random,
            rounds=SETTLING_ROUNDS,
            start=optimiser.average["latent"],
            afresh=self.spec.settling,
            dtype=clip.dtype,
        )
        for done, latents in enumerate(rounds, 1):
            picture = self._kept(self.networks.draw(latents))
            left = SETTLING_ROUNDS - done + self.enlarged
            yield Moment(picture, left, {"score": optimiser.score(picture)})
        return picture

    @torch.no_grad()
    def _move_camera(self, optimiser: LatentOptimiser) -> None:
        if optimiser.left and optimiser.step % self.spec.camera_every == 0:
            move = Move(self.spec.zoom, self.spec.turn, self.spec.pan_x, self.spec.pan_y)
            optimiser.replace({"latent": self.networks.encode(move.apply(optimiser.picture()))})

    def _settles(self) -> bool:
        return bool(self.spec.steps and self.spec.settling and self._begins_with_prior and self._fits_prior())

    @property
    def _begins_with_prior(self) -> bool:
        if self.spec.start_image is not None:
            return self.spec.start_afresh > 0
        return self.spec.init is Start.PRIOR

    def _fits_prior(self) -> bool:
        prior = self.networks.prior
        return prior is not None and self._grid == (prior.config.grid,) * 2

    @property
    def _grid(self) -> tuple[int, int]:
        factor = self.networks.vqgan.downsampling
        return self.spec.height // factor, self.spec.width // factor

    @cached_property
    def _original(self) -> Tensor | None:
        """The start image at the picture's size."""
        if self.spec.start_image is None:
            return None
        return resize(picture_of(self.spec.start_image, self.context), self.size).to(
            self.networks.clip.device
        )

    @cached_property
    def _paintable(self) -> Tensor | None:
        """Where the picture may change, (1, 1, H, W)."""
        if self.spec.mask is None:
            return None
        painted = resize(picture_of(self.spec.mask, self.context), self.size)
        return painted.mean(1, keepdim=True).to(self.networks.clip.device)

    def _mask(self, size: tuple[int, int]) -> Mask | None:
        if self._paintable is None or self._original is None:
            return None
        return Mask(resize(self._paintable, size), resize(self._original, size))

    def _kept(self, picture: Tensor) -> Tensor:
        mask = self._mask(self.size)
        return mask.keep(picture) if mask else picture


def _load(entry: WeightsEntry, context: Context) -> tuple[Networks, list[torch.nn.Module]]:
    files = {network: context.weights_dir / path for network, path in entry.networks.items()}
    clip = fast_clip(files["clip"], context.device)
    vqgan = load_vqgan(files["vqgan"].with_suffix(".yaml"), files["vqgan"], context.device)
    vqgan.to(clip.dtype, memory_format=torch.channels_last)
    prior = load_prior(files["prior"], context.device) if "prior" in files else None
    return Networks(vqgan, clip, prior), [vqgan, clip.model, *([prior] if prior else [])]
