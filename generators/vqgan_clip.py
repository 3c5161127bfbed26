"""VQGAN latent optimisation steered by CLIP, starting from noise or from a scene that the prior imagines."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generators.contract import Context, Frame, GenerationError, GenerationSpec
from generators.vqgan_clip_spec import Start, VqganClipSpec
from guidance.clip import Clip
from guidance.latent_optimiser import LatentOptimiser
from networks.latent_flow import LatentFlow, sample_rounds
from networks.vqgan import VQGAN
from weights import catalogue
from weights.errors import WeightsError
from weights.files import verify
from weights.loading import load_clip, load_prior, load_vqgan

ROUNDS = 12
"""In so many rounds the prior goes from noise to a scene."""
SETTLING_ROUNDS = 4


@dataclass(frozen=True)
class Networks:
    """The frozen networks of one set of weights on one device."""

    vqgan: VQGAN
    clip: Clip
    prior: LatentFlow | None
    device: torch.device


def generate(spec: GenerationSpec, context: Context) -> Iterator[Frame]:
    """Frames from the start to the finished picture.

    First the prior's rounds, then the steps of guidance, then the prior once more: guidance leaves stains in
    the picture, and the prior knows that no scene has them.

    Raises:
        GenerationError: the weights are missing or damaged, or have no prior to start from.
    """
    assert isinstance(spec, VqganClipSpec)
    networks = _networks(spec.weights, context)
    random = torch.Generator().manual_seed(spec.seed)
    text = networks.clip.encode_text([spec.prompt])[0]
    forming: list[Tensor] = []
    if context.resume:
        latent = torch.zeros(1, networks.vqgan.config.embed_dim, *_grid(spec, networks))
    elif spec.init is Start.PRIOR:
        forming, latent = _imagine(spec, networks, text, random)
    else:
        latent = _noise(spec, networks, random)
    before = ROUNDS - 1 if spec.init is Start.PRIOR else 0  # the last round is where guidance starts
    after = SETTLING_ROUNDS if _settles(spec, networks) else 0
    for step, picture in enumerate(forming):
        yield Frame(_to_bytes(picture), step, before + spec.steps + after)
    optimiser = LatentOptimiser(
        vqgan=networks.vqgan,
        clip=networks.clip,
        text=text,
        latent=latent.to(networks.device),
        random=random,
        cutouts=spec.cutouts,
        learning_rate=spec.learning_rate,
    )
    if context.resume:
        optimiser.restore(context.resume)
    yield from _refine(optimiser, spec.steps, before, after)
    if after:
        steps = before + optimiser.step + after
        for step, picture in enumerate(_settle(spec, networks, optimiser), steps - after + 1):
            score = networks.clip.score(picture, text).item()
            yield Frame(_to_bytes(picture), step, steps, {"score": score})


def _refine(optimiser: LatentOptimiser, steps: int, before: int, after: int) -> Iterator[Frame]:
    loss: float | None = None
    while True:
        picture = optimiser.picture()
        with torch.no_grad():
            numbers = {"score": optimiser.clip.score(picture, optimiser.text).item()}
        if loss is not None:
            numbers["loss"] = loss
        finished = optimiser.step >= steps or optimiser.convergence.reached
        yield Frame(
            image=_to_bytes(picture),
            step=before + optimiser.step,
            steps=before + (optimiser.step if finished else steps) + after,
            numbers=numbers,
            checkpoint=optimiser.dump,
        )
        if finished:
            return
        loss = optimiser.advance(picture)


def _settles(spec: VqganClipSpec, networks: Networks) -> bool:
    return bool(
        spec.init is Start.PRIOR
        and spec.steps
        and spec.settling
        and networks.prior
        and _grid(spec, networks) == (networks.prior.config.grid,) * 2
    )


@torch.no_grad()
def _settle(spec: VqganClipSpec, networks: Networks, optimiser: LatentOptimiser) -> Iterator[Tensor]:
    assert networks.prior is not None
    ids, heard = networks.clip.tokens([spec.prompt])
    for latents in sample_rounds(
        networks.prior,
        ids,
        heard,
        optimiser.random,
        rounds=SETTLING_ROUNDS,
        start=optimiser.latent,
        afresh=spec.settling,
        dtype=networks.clip.dtype,
    ):
        yield _draw(networks, latents)


@torch.no_grad()
def _noise(spec: VqganClipSpec, networks: Networks, random: torch.Generator) -> Tensor:
    grid = _grid(spec, networks)
    codes = torch.randint(networks.vqgan.config.n_embed, (1, *grid), generator=random)
    return networks.vqgan.embed(codes.to(networks.device)).float()


@torch.no_grad()
def _imagine(
    spec: VqganClipSpec, networks: Networks, text: Tensor, random: torch.Generator
) -> tuple[list[Tensor], Tensor]:
    """Many scenes from the prior; of the best by CLIP's opinion, all rounds but the last and the latent."""
    if networks.prior is None:
        raise GenerationError(f"The weights '{spec.weights}' have no prior; choose the start 'noise'.")
    ids, heard = networks.clip.tokens([spec.prompt] * spec.candidates)
    dtype = networks.clip.dtype
    rounds = list(sample_rounds(networks.prior, ids, heard, random, rounds=ROUNDS, dtype=dtype))
    best = networks.clip.score(_draw(networks, rounds[-1]), text).argmax()
    size = (spec.height, spec.width)
    pictures = [_resize(_draw(networks, latents[best, None]), size) for latents in rounds]
    if networks.prior.config.grid * networks.vqgan.downsampling == spec.height == spec.width:
        latent = rounds[-1][best, None]
    else:
        latent = networks.vqgan.encode((pictures[-1] * 2 - 1).to(dtype))
    return pictures[:-1], latent.float()


def _draw(networks: Networks, latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) through the codebook to pictures (B, 3, H, W) in [0, 1]."""
    codes, _ = networks.vqgan.quantize(latents)
    return networks.vqgan.decode(codes.to(networks.clip.dtype)).float().div(2).add(0.5).clamp(0, 1)


def _resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    if pictures.shape[2:] == size:
        return pictures
    return F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(0, 1)


def _grid(spec: VqganClipSpec, networks: Networks) -> tuple[int, int]:
    factor = networks.vqgan.downsampling
    return spec.height // factor, spec.width // factor


def _to_bytes(picture: Tensor) -> np.ndarray:
    return picture[0].detach().permute(1, 2, 0).mul(255).round().byte().cpu().numpy()


def _networks(name: str, context: Context) -> Networks:
    entry = next(e for e in catalogue.entries() if e.name == name)
    try:
        verify(entry, context.weights_dir)
        return _load(name, context.weights_dir, context.device)
    except WeightsError as error:
        raise GenerationError(str(error)) from error


@lru_cache(maxsize=2)
def _load(name: str, weights_dir: Path, device: str) -> Networks:
    """Networks stay in memory for the next job with the same weights."""
    entry = next(e for e in catalogue.entries() if e.name == name)
    files = {network: weights_dir / path for network, path in entry.networks.items()}
    dtype = _fast_dtype(torch.device(device))
    clip = Clip(*load_clip(files["clip"], device), dtype=dtype)
    clip.model.vision_model.to(dtype)
    clip.model.visual_projection.to(dtype)
    vqgan = load_vqgan(files["vqgan"].with_suffix(".yaml"), files["vqgan"], device)
    vqgan.to(dtype, memory_format=torch.channels_last)
    prior = load_prior(files["prior"], device) if "prior" in files else None
    return Networks(vqgan, clip, prior, torch.device(device))


def _fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies matrices in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
