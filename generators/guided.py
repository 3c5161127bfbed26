"""What the generators steered by CLIP share: targets, guidance, moments of a forming picture, the shelf."""

import io
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generators.contract import Context, Frame, GenerationError
from generators.guided_spec import GuidedSpec
from guidance.clip import Clip
from guidance.cutouts import Augmentations
from guidance.latent_optimiser import Guidance, LatentOptimiser
from guidance.losses import Costs, Targets
from guidance.memory import let_go
from guidance.prompts import parse_prompt
from weights.memory import is_out_of_memory


@dataclass(frozen=True)
class Moment:
    """A forming picture (1, 3, H, W) in [0, 1], and how many more are to come.

    ``state``, where there is one, is what ``Context.resume`` brings back.
    """

    picture: Tensor
    left: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    state: Callable[[], Mapping[str, Any]] | None = None


def frames(moments: Iterable[Moment], first: int = 0) -> Iterator[Frame]:
    """Number the moments from ``first`` on."""
    for step, moment in enumerate(moments, first):
        yield Frame(
            image=to_bytes(moment.picture),
            step=step,
            steps=step + moment.left,
            numbers=moment.numbers,
            checkpoint=None if moment.state is None else _packed(step, moment.state),
        )


def resumed(context: Context) -> tuple[int, Mapping[str, Any] | None]:
    """The step of the checkpoint and the state of its moment, on the CPU; 0 and None without one."""
    if context.resume is None:
        return 0, None
    saved = torch.load(io.BytesIO(context.resume), map_location="cpu", weights_only=True)
    return saved["step"], saved["state"]


def refine(
    optimiser: LatentOptimiser,
    after: int,
    stage: Mapping[str, Any],
    between: Callable[[LatentOptimiser], None] | None = None,
) -> Generator[Moment, None, Tensor]:
    """Guidance from the optimiser's step to its last, whose picture it returns; ``after`` moments follow.

    ``between`` is called after every step. The moments' state says ``stage`` too.
    """
    numbers: dict[str, float] = {}
    while True:
        picture = optimiser.picture()
        numbers = {"score": optimiser.score(picture), **numbers}
        left, shown = optimiser.left, optimiser.shown(picture)
        yield Moment(shown, left + after, numbers, partial(_state, stage, optimiser))
        if not left:
            return shown
        numbers = {"loss": optimiser.advance(picture)}
        if between is not None:
            between(optimiser)


def guidance_of(spec: GuidedSpec, chapters: Sequence[Targets], costs: Costs, chunk: int) -> Guidance:
    """How ``spec`` wants the picture to be moved towards the targets of ``targets_of``."""
    return Guidance(
        chapters=chapters,
        steps=spec.steps,
        learning_rate=spec.learning_rate,
        schedule=spec.schedule,
        optimiser=spec.optimiser,
        averaging=spec.averaging,
        cutouts=spec.cutouts,
        chunk=chunk,
        augmentations=Augmentations(
            smallest=spec.smallest_cutout,
            power=spec.cutout_power,
            noise=spec.noise,
            rotation=spec.rotation,
            flip=spec.flip,
            perspective=spec.perspective,
            colour_jitter=spec.colour_jitter,
            erasing=spec.erasing,
            grayscale=spec.grayscale,
        ),
        costs=costs,
    )


@torch.no_grad()
def targets_of(spec: GuidedSpec, clip: Clip, context: Context) -> list[Targets]:
    """What each chapter of the prompt, with the image prompts, wants the picture to resemble."""
    pictures = [clip.look(picture_of(image, context).to(clip.device)) for image in spec.image_prompts]
    chapters = []
    for chapter in parse_prompt(spec.prompt):
        texts = clip.encode_text([part.text for part in chapter.parts])
        weights = [part.weight for part in chapter.parts] + [spec.image_prompt_weight] * len(pictures)
        chapters.append(Targets.of(torch.cat([texts, *pictures]), weights))
    return chapters


def picture_of(reference: str, context: Context) -> Tensor:
    """The picture handed in under that reference, (1, 3, H, W) in [0, 1].

    Raises:
        GenerationError: it is not there any more.
    """
    try:
        image = context.images(reference)
    except LookupError as error:
        raise GenerationError(
            f"The picture {reference[:12]}… is not there any more: hand it in again."
        ) from error
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] to ``size`` (height, width)."""
    if pictures.shape[2:] == size:
        return pictures
    return F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(0, 1)


def to_bytes(picture: Tensor) -> np.ndarray:
    """A picture (1, 3, H, W) in [0, 1] to (H, W, 3) uint8."""
    return picture[0].detach().clamp(0, 1).permute(1, 2, 0).mul(255).round().byte().cpu().numpy()


def fast_clip(folder: Path, device: str) -> Clip:
    """The CLIP in a folder, its image tower in the type that the device is fastest in."""
    return Clip.load(folder, device, fast_dtype(torch.device(device)))


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies matrices in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


@contextmanager
def memory_told(advice: str) -> Iterator[None]:
    """Tell people what to do when a picture does not fit into memory, and free what its drawing held."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        let_go(error)
        raise GenerationError(f"There is not enough memory for this picture: {advice}.") from error


def _state(stage: Mapping[str, Any], optimiser: LatentOptimiser) -> Mapping[str, Any]:
    return {**stage, "optimiser": optimiser.state()}


def _packed(step: int, state: Callable[[], Mapping[str, Any]]) -> Callable[[], bytes]:
    def pack() -> bytes:
        buffer = io.BytesIO()
        torch.save({"step": step, "state": dict(state())}, buffer)
        return buffer.getvalue()

    return pack
