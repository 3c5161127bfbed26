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
from networks.token_prior import TokenPrior, sample_codes
from networks.vqgan import VQGAN
from weights import catalogue
from weights.errors import WeightsError
from weights.files import verify
from weights.loading import load_clip, load_prior, load_vqgan


@dataclass(frozen=True)
class Networks:
    """The frozen networks of one set of weights on one device."""

    vqgan: VQGAN
    clip: Clip
    prior: TokenPrior | None
    device: torch.device


def generate(spec: GenerationSpec, context: Context) -> Iterator[Frame]:
    """Frames from the start (step 0) to the finished picture.

    Raises:
        GenerationError: the weights are missing or damaged, or have no prior to start from.
    """
    assert isinstance(spec, VqganClipSpec)
    networks = _networks(spec.weights, context)
    random = torch.Generator().manual_seed(spec.seed)
    text = networks.clip.encode_text([spec.prompt])[0]
    optimiser = LatentOptimiser(
        vqgan=networks.vqgan,
        clip=networks.clip,
        text=text,
        latent=_blank(spec, networks) if context.resume else _start(spec, networks, text, random),
        random=random,
        cutouts=spec.cutouts,
        learning_rate=spec.learning_rate,
    )
    if context.resume:
        optimiser.restore(context.resume)
    yield from _refine(optimiser, spec.steps)


def _refine(optimiser: LatentOptimiser, steps: int) -> Iterator[Frame]:
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
            step=optimiser.step,
            steps=optimiser.step if finished else steps,
            numbers=numbers,
            checkpoint=optimiser.dump,
        )
        if finished:
            return
        loss = optimiser.advance(picture)


@torch.no_grad()
def _start(spec: VqganClipSpec, networks: Networks, text: Tensor, random: torch.Generator) -> Tensor:
    if spec.init is Start.NOISE:
        grid = _grid(spec, networks)
        codes = torch.randint(networks.vqgan.config.n_embed, (1, *grid), generator=random)
        return networks.vqgan.embed(codes.to(networks.device))
    return _imagine(spec, networks, text, random)


def _imagine(spec: VqganClipSpec, networks: Networks, text: Tensor, random: torch.Generator) -> Tensor:
    """The best of many scenes that the prior draws for the prompt, by CLIP's opinion."""
    if networks.prior is None:
        raise GenerationError(f"The weights '{spec.weights}' have no prior; choose the start 'noise'.")
    ids, heard = networks.clip.tokens([spec.prompt] * spec.candidates)
    codes = sample_codes(networks.prior, ids, heard, random)
    latents = networks.vqgan.embed(codes).to(networks.clip.dtype)
    pictures = networks.vqgan.decode(latents).float().div(2).add(0.5).clamp(0, 1)
    best = networks.clip.score(pictures, text).argmax()
    if pictures.shape[2:] == (spec.height, spec.width):
        return latents[best : best + 1].float()
    resized = F.interpolate(
        pictures[best : best + 1], (spec.height, spec.width), mode="bicubic", antialias=True
    )
    return networks.vqgan.encode((resized * 2 - 1).to(networks.clip.dtype)).float()


def _blank(spec: VqganClipSpec, networks: Networks) -> Tensor:
    grid = _grid(spec, networks)
    return torch.zeros(1, networks.vqgan.config.embed_dim, *grid, device=networks.device)


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
    vqgan = load_vqgan(files["vqgan"].with_suffix(".yaml"), files["vqgan"], device).to(dtype)
    prior = load_prior(files["prior"], device).to(dtype) if "prior" in files else None
    return Networks(vqgan, clip, prior, torch.device(device))


def _fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies matrices in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
