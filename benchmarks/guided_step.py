"""One guided step at the original's size, by the book and by us, in one run.

``python -m benchmarks.guided_step [--device cuda] [--rounds 5] [--part speed|scores]``

**speed**: VQGAN f16 with 16384 codes at 256 x 256, 32 cutouts of 224, ViT-B/32, random weights. By the book
is what the well-known VQGAN-CLIP scripts do (Crowson 2021): float32, attention as torch chooses it, cutouts
resized one by one, kornia's augmentations, a second decoding for the picture that is shown. Ours is the
studio's loop with augmentations of the same kinds but sharpness. The two take turns; seconds are medians,
the peak of memory is that of a process of its own. The rate is the step's arithmetic by its seconds, beside
the rate at which this machine multiplies large matrices in the type that ours runs in. Bars: 3.5 times by the
book on a CPU with bfloat16 matrix units, 3 times in less memory on a GPU.

Measured on two cores of an idle Xeon with AMX (seconds that pass, median of 3): by the book 12.6 s, 4.0 GB;
ours 3.2 s, 1.9 GB, 1.05 TFLOP: 4.0 times as fast, at 0.33 of 1.3 TFLOP/s. On one core of a busier one
(seconds of the processor) it was 5.3 times: the decoder half of the time, half of that convolutions, CLIP
most of the rest, two thirds of it matrix products. On a GPU it has not been measured yet.

**scores**: the studio's loop with the shipped weights on 20 prompts, in float32 and in the type that the
device is fastest in; CLIP in float32 scores both. Bar: means within 1 %.
Measured on the same core: 0.6065 in float32, 0.6062 in bfloat16, a difference of -0.05 %.
"""

import argparse
import re
import statistics
import time
from collections.abc import Callable
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import kornia.augmentation as K
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import CLIPConfig, CLIPModel

from generators.guided import fast_dtype, frames, refine
from generators.starts import random_codes
from guidance.clip import Clip
from guidance.cutouts import Augmentations
from guidance.drawings import VqganDrawing
from guidance.latent_optimiser import Guidance, LatentOptimiser
from guidance.losses import Targets, spherical_distance
from networks.vqgan import VQGAN, VQGANConfig
from sandbox.evaluate import distinct_scenes
from settings import ROOT
from weights.loading import OPENAI_MEAN, OPENAI_STD, load_vqgan

SIDE, VIEW, CUTOUTS, DIMENSIONS = 256, 224, 32, 512
VIT_B_32 = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": VIEW,
    "patch_size": 32,
}
AUGMENTATIONS = Augmentations(
    smallest=VIEW / SIDE, noise=0.1, rotation=30 / 90, flip=1, perspective=0.2, colour_jitter=0.01
)
PROMPTS, STEPS = 20, 30
SANDBOX, SANDBOX_SIDE = ROOT / "res" / "weights" / "sandbox", 128

Step = Callable[[], object]


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5, help="how many steps of each are measured")
    parser.add_argument("--part", choices=("speed", "scores"), help="only this part")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.part != "scores":
        compare_speed(device, options.rounds)
    if options.part != "speed":
        compare_scores(device)


def compare_speed(device: torch.device, rounds: int) -> None:
    """Print seconds, memory and rate of a step of each contender."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        peaks = [processes.apply(peak_memory, (name, device)) for name in CONTENDERS]
    steps = [make(device) for make in CONTENDERS.values()]
    arithmetic = [count_operations(step) for step in steps]
    turns = [[timed(step, device) for step in steps] for _ in range(rounds)]
    seconds = [statistics.median(measured) for measured in zip(*turns, strict=True)]
    dtype = fast_dtype(device)
    possible = matrix_rate(device, dtype)
    print(f"{device}, {torch.get_num_threads()} threads; matrices in {dtype}: {possible / 1e12:.2f} TFLOP/s")
    for name, peak, operations, taken in zip(CONTENDERS, peaks, arithmetic, seconds, strict=True):
        rate = operations / taken
        print(
            f"{name:11} {taken:7.3f} s, {peak / 1e9:5.2f} GB, {operations / 1e12:.2f} TFLOP "
            f"at {rate / 1e12:.2f} TFLOP/s: {rate / possible:.0%} of the matrix rate"
        )
    print(f"ours: {seconds[0] / seconds[1]:.2f} times as fast, in {peaks[1] / peaks[0]:.2f} of the memory")


def compare_scores(device: torch.device) -> None:
    """Print the mean score of the same prompts in float32 and in the fast type."""
    prompts = [caption.text for _, caption in distinct_scenes(PROMPTS)]
    judge = sandbox_clip(torch.float32, device)
    means = []
    for dtype in (torch.float32, fast_dtype(device)):
        pictures = [drawn(prompt, dtype, device) for prompt in tqdm(prompts, str(dtype), leave=False)]
        scores = (judge.look(torch.cat(pictures)) * judge.encode_text(prompts)).sum(1)
        means.append(scores.mean().item())
        print(f"{dtype}: mean score {means[-1]:.4f} of {PROMPTS} prompts after {STEPS} steps")
    print(f"difference: {means[1] / means[0] - 1:+.2%}")


def by_the_book(device: torch.device) -> Step:
    """The scripts' loop at the original's size."""
    torch.manual_seed(0)
    vqgan = VQGAN(VQGANConfig()).to(device).eval().requires_grad_(False)
    clip = random_clip("sdpa").to(device)
    return book_step(vqgan, clip, random_text(device), first_latent(vqgan, device), SIDE)


def book_step(vqgan: VQGAN, clip: CLIPModel, text: Tensor, latent: Tensor, side: int) -> Callable[[], Tensor]:
    """A step of the scripts' loop, in our words, which returns the picture (1, 3, side, side) in [0, 1].

    It moves ``latent`` towards the unit vector ``text``.
    """
    device, view = latent.device, clip.config.vision_config.image_size
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (OPENAI_MEAN, OPENAI_STD))
    augment = nn.Sequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomSharpness(0.3, p=0.4),
        K.RandomAffine(degrees=30, translate=(0.1, 0.1), p=0.8, padding_mode="border"),
        K.RandomPerspective(0.2, p=0.4),
        K.ColorJitter(hue=0.01, saturation=0.01, p=0.7),
    )
    latent.requires_grad_(True)
    adam = torch.optim.Adam([latent], lr=0.1)

    def draw() -> Tensor:
        vectors, codes = latent.movedim(1, 3), vqgan.codebook
        squares = vectors.square().sum(-1, keepdim=True) + codes.square().sum(1)
        nearest = (squares - 2 * vectors @ codes.T).argmin(-1)
        quantized = F.one_hot(nearest, len(codes)).to(codes.dtype) @ codes
        straight_through = vectors + (quantized - vectors).detach()
        return ((vqgan.decode(straight_through.movedim(3, 1)) + 1) / 2).clamp(0, 1)

    def cut(picture: Tensor) -> Tensor:
        views = []
        for _ in range(CUTOUTS):
            length = int(view + torch.rand(()) * (side - view))
            y, x = torch.randint(0, side - length + 1, (2,)).tolist()
            crop = picture[:, :, y : y + length, x : x + length]
            views.append(F.interpolate(crop, (view, view), mode="bicubic", align_corners=True))
        batch = augment(torch.cat(views))
        return batch + 0.1 * torch.rand(CUTOUTS, 1, 1, 1, device=device) * torch.randn_like(batch)

    def step() -> Tensor:
        adam.zero_grad()
        pooled = clip.vision_model(pixel_values=(cut(draw()) - mean) / std).pooler_output
        embedded = F.normalize(clip.visual_projection(pooled), dim=-1)
        spherical_distance(embedded, text).mean().backward()
        adam.step()
        with torch.no_grad():
            picture = draw()
            picture.mul(255).byte().cpu()
        return picture

    return step


def ours(device: torch.device) -> Step:
    """The studio's loop: a step, the picture's score, its frame."""
    torch.manual_seed(0)
    dtype = fast_dtype(device)
    vqgan = VQGAN(VQGANConfig()).to(device, dtype, memory_format=torch.channels_last)
    clip = Clip(random_clip("eager").to(device), None, OPENAI_MEAN, OPENAI_STD, dtype)
    clip.model.to(dtype)
    drawing = VqganDrawing(vqgan.eval().requires_grad_(False), first_latent(vqgan, device), dtype)
    guidance = Guidance(
        chapters=[Targets.of(random_text(device), [1.0])],
        steps=10**6,
        learning_rate=0.1,
        cutouts=CUTOUTS,
        augmentations=AUGMENTATIONS,
        until_converged=False,
    )
    optimiser = LatentOptimiser(drawing, clip, guidance, torch.Generator().manual_seed(0))
    return partial(next, frames(refine(optimiser, 0, {})))


CONTENDERS: dict[str, Callable[[torch.device], Step]] = {"by the book": by_the_book, "ours": ours}


def random_clip(attention: str) -> CLIPModel:
    """A ViT-B/32 with next to no text tower."""
    config = CLIPConfig(
        vision_config=VIT_B_32, text_config={"num_hidden_layers": 1}, projection_dim=DIMENSIONS
    )
    return CLIPModel._from_config(config, attn_implementation=attention).eval().requires_grad_(False)


def random_text(device: torch.device) -> Tensor:
    """A unit vector (1, D) in place of a text's."""
    return F.normalize(torch.randn(1, DIMENSIONS), dim=-1).to(device)


def first_latent(vqgan: VQGAN, device: torch.device) -> Tensor:
    """The latent (1, C, h, w) that both begin with."""
    grid = (SIDE // vqgan.downsampling,) * 2
    return random_codes(vqgan, grid, torch.Generator().manual_seed(0)).to(device)


def drawn(prompt: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The studio's picture of ``prompt`` from noise, with the shipped weights."""
    vqgan, clip = sandbox_vqgan(dtype, device), sandbox_clip(dtype, device)
    random = torch.Generator().manual_seed(0)
    start = random_codes(vqgan, (SANDBOX_SIDE // vqgan.downsampling,) * 2, random).to(device)
    guidance = Guidance(
        chapters=[Targets.of(clip.encode_text([prompt]), [1.0])],
        steps=STEPS,
        learning_rate=0.05,
        until_converged=False,
    )
    optimiser = LatentOptimiser(VqganDrawing(vqgan, start, dtype), clip, guidance, random)
    while optimiser.left:
        optimiser.advance(optimiser.picture())
    return optimiser.picture().detach()


@cache
def sandbox_vqgan(dtype: torch.dtype, device: torch.device) -> VQGAN:
    """The shipped VQGAN, in ``dtype``."""
    vqgan = load_vqgan(SANDBOX / "vqgan.yaml", SANDBOX / "vqgan.safetensors", str(device))
    return vqgan.to(dtype, memory_format=torch.channels_last)


@cache
def sandbox_clip(dtype: torch.dtype, device: torch.device) -> Clip:
    """The shipped CLIP, its image tower in ``dtype``."""
    return Clip.load(SANDBOX / "clip", str(device), dtype)


def peak_memory(name: str, device: torch.device) -> int:
    """Bytes that this process has held at most, on the device that computes, after two steps."""
    step = CONTENDERS[name](device)
    step()
    step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def count_operations(step: Step) -> int:
    """Additions and multiplications of the matrix products and convolutions of a step."""
    step()  # the first one prepares
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second in the best of some products of large square matrices."""
    rates = []
    for side in (1024, 2048, 4096):
        a, b = torch.randn(2, side, side, device=device, dtype=dtype)
        multiply = partial(torch.mm, a, b)
        multiply()
        rates += [2 * side**3 / timed(multiply, device) for _ in range(5)]
    return max(rates)


def timed(step: Step, device: torch.device) -> float:
    """Seconds that a step takes."""
    finished(device)
    began = time.perf_counter()
    step()
    finished(device)
    return time.perf_counter() - began


def finished(device: torch.device) -> None:
    """Wait until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
