"""How much memory a guided step takes: the figures of the catalogue's ``memory``.

``python -m benchmarks.memory`` builds networks of the published sizes with random weights, and the sandbox's.
It guides one picture for two steps at several sizes and numbers of cutouts, each in a process of its own, and
prints what the networks take, what a megapixel adds, and what a cutout adds. On a GPU (``--device cuda``) the
allocator is asked, on a CPU the largest resident set, less that of a process that has only imported.
"""

import argparse
import resource
import subprocess
import sys
from dataclasses import dataclass

import torch

from benchmarks.guided_step import SANDBOX, random_clip
from generators.guided import fast_clip, fast_dtype
from guidance.clip import Clip
from guidance.drawings import BigGANDrawing, Drawing, VqganDrawing
from guidance.latent_optimiser import Guidance, LatentOptimiser
from guidance.losses import Targets
from networks.biggan import BigGAN, BigGANConfig
from networks.vqgan import VQGAN, VQGANConfig
from weights.loading import OPENAI_MEAN, OPENAI_STD

MEGA = 1e6
GIGA = 1e9


@dataclass(frozen=True)
class Point:
    """One measurement; ``side`` 0 where the network decides."""

    side: int
    cutouts: int


POINTS = {
    "sandbox": (Point(128, 8), Point(512, 8), Point(128, 64)),
    "sandbox-biggan": (Point(0, 8), Point(0, 64)),
    "vqgan-f16": (Point(256, 4), Point(448, 4), Point(256, 32)),
    "vqgan-f8-gumbel": (Point(256, 4), Point(384, 4), Point(256, 32)),
    "biggan-deep-128": (Point(0, 4), Point(0, 32)),
    "biggan-deep-256": (Point(0, 4), Point(0, 32)),
    "biggan-deep-512": (Point(0, 4), Point(0, 32)),
}


def main() -> None:
    """Measure, or with ``--point`` be one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(POINTS), help=", ".join(POINTS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--point", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print(_peak(options.networks[0], Point(*options.point), options.device))
        return
    for network in options.networks:
        peaks = [_in_a_process(network, point, options.device) / GIGA for point in POINTS[network]]
        print(
            network,
            *(
                f"{p.side}px {p.cutouts} cutouts: {peak:.2f} GB"
                for p, peak in zip(POINTS[network], peaks, strict=True)
            ),
            sep="\n  ",
        )
        print("  memory:", _fit(POINTS[network], peaks))


def _fit(points: tuple[Point, ...], peaks: list[float]) -> dict[str, float]:
    """The line through the measurements."""
    few, many = peaks[0], peaks[-1]
    cutout = (many - few) / (points[-1].cutouts - points[0].cutouts)
    megapixel = 0.0
    if len(points) == 3:
        megapixel = (peaks[1] - few) / ((points[1].side ** 2 - points[0].side ** 2) / MEGA)
    networks = few - cutout * points[0].cutouts - megapixel * points[0].side ** 2 / MEGA
    fitted = {"networks": networks, "megapixel": megapixel, "cutout": cutout}
    return {name: round(value, 4) for name, value in fitted.items()}


def _in_a_process(network: str, point: Point, device: str) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", network, "--device", device]
    command += ["--point", str(point.side), str(point.cutouts)]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(said.stdout.split()[-1])


def _peak(network: str, point: Point, device: str) -> int:
    """Bytes that one guided step takes at its peak, networks included."""
    imported = _resident()
    step = _optimiser(network, point, device)
    for _ in range(2):
        step.advance(step.picture())
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return _resident() - imported


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _optimiser(network: str, point: Point, device: str) -> LatentOptimiser:
    clip = _clip(network, device)
    drawing = _drawing(network, point.side, clip)
    vector = torch.nn.functional.normalize(torch.ones(1, clip.model.config.projection_dim), dim=1).to(device)
    guidance = Guidance([Targets.of(vector, [1.0])], steps=10, learning_rate=0.05, cutouts=point.cutouts)
    return LatentOptimiser(drawing, clip, guidance, torch.Generator().manual_seed(0))


def _clip(network: str, device: str) -> Clip:
    if network.startswith("sandbox"):
        return fast_clip(SANDBOX / "clip", device)
    dtype = fast_dtype(torch.device(device))
    return Clip(random_clip("eager").to(device, dtype), None, OPENAI_MEAN, OPENAI_STD, dtype)


def _drawing(network: str, side: int, clip: Clip) -> Drawing:
    if "biggan" in network:
        biggan = _biggan(network, clip)
        layers = biggan.conditioning_layers
        return BigGANDrawing(
            biggan=biggan,
            noise=torch.zeros(1, layers, biggan.config.z_dim, device=clip.device),
            kinds=torch.zeros(1, dtype=torch.long, device=clip.device),
            shares=torch.zeros(1, layers, 1, device=clip.device),
            truncation=1.0,
            bound=2.0,
            class_rate=1.0,
            dtype=clip.dtype,
        )
    vqgan = _vqgan(network, clip)
    grid = side // vqgan.downsampling
    latent = torch.zeros(1, vqgan.config.embed_dim, grid, grid, device=clip.device)
    return VqganDrawing(vqgan, latent, clip.dtype)


def _vqgan(network: str, clip: Clip) -> VQGAN:
    if network == "sandbox":
        config = VQGANConfig.from_yaml(SANDBOX / "vqgan.yaml")
    elif network == "vqgan-f16":
        config = VQGANConfig(n_embed=16384)
    else:
        config = VQGANConfig(ch_mult=(1, 1, 2, 4), n_embed=8192, attn_resolutions=(32,), gumbel=True)
    vqgan = VQGAN(config).to(clip.dtype).to(clip.device, memory_format=torch.channels_last)
    return vqgan.eval().requires_grad_(False)


def _biggan(network: str, clip: Clip) -> BigGAN:
    if network == "sandbox-biggan":
        config = BigGANConfig.from_json(SANDBOX / "biggan" / "config.json")
    else:
        config = _published(int(network.rpartition("-")[2]))
    biggan = BigGAN(config).to(clip.dtype).to(clip.device, memory_format=torch.channels_last)
    return biggan.eval().requires_grad_(False)


def _published(side: int) -> BigGANConfig:
    layers = BigGANConfig.layers
    fewer = (*layers[:4], (False, 8, 8), *layers[7:])
    more = (*layers, (False, 1, 1), (True, 1, 1))
    return BigGANConfig(output_dim=side, layers={128: fewer, 256: layers, 512: more}[side])


if __name__ == "__main__":
    main()
