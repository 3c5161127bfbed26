"""Train what ``res/weights/sandbox`` ships: ``python -m sandbox.train NAME``.

A run keeps its checkpoint, log and samples in ``runs/NAME`` and goes on from there when started again; with
its budget used up it exports the weights. One thread a process: two trainings side by side then share two
cores without waiting for each other.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from sandbox.data import SceneData
from sandbox.loop import Recipe, train
from settings import ROOT

WEIGHTS = ROOT / "res" / "weights" / "sandbox"


def _vqgan(data: SceneData, runs: Path) -> Recipe:
    from sandbox.recipes.vqgan import VqganRecipe

    return VqganRecipe(data)


def _clip(data: SceneData, runs: Path) -> Recipe:
    from sandbox.recipes.clip import ClipRecipe

    return ClipRecipe(data)


def _prior(data: SceneData, runs: Path) -> Recipe:
    from sandbox.recipes.prior import PriorRecipe
    from weights.loading import load_vqgan

    vqgan = load_vqgan(WEIGHTS / "vqgan.yaml", WEIGHTS / "vqgan.safetensors")
    return PriorRecipe(data, vqgan, runs / "codes.npy")


def _decoder(data: SceneData, runs: Path) -> Recipe:
    from sandbox.recipes.decoder import DecoderRecipe
    from weights.loading import load_vqgan

    vqgan = load_vqgan(WEIGHTS / "vqgan.yaml", WEIGHTS / "vqgan.safetensors")
    return DecoderRecipe(data, vqgan, runs / "codes.npy")


def _judge(data: SceneData, runs: Path) -> Recipe:
    from sandbox.recipes.judge import JudgeRecipe

    return JudgeRecipe(data)


def _biggan(data: SceneData, runs: Path) -> Recipe:
    from sandbox.recipes.biggan import BigGANRecipe

    return BigGANRecipe(data)


RECIPES: dict[str, Callable[[SceneData, Path], Recipe]] = {
    "vqgan": _vqgan,
    "clip": _clip,
    "decoder": _decoder,
    "prior": _prior,
    "biggan": _biggan,
    "judge": _judge,
}


def main() -> None:
    """Train one network within a budget, then export it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("network", choices=RECIPES)
    parser.add_argument("--steps", type=int, help="stop after this many steps in all")
    parser.add_argument("--minutes", type=float, help="stop after this many minutes in all")
    parser.add_argument("--scenes", type=int, default=80_000, help="how many scenes to train on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where to export to")
    options = parser.parse_args()
    if options.steps is None and options.minutes is None:
        parser.error("give a budget: --steps or --minutes")
    torch.set_num_threads(options.threads)
    folder = options.runs / options.network
    folder.mkdir(parents=True, exist_ok=True)
    recipe = RECIPES[options.network](SceneData(options.runs / "scenes", options.scenes), options.runs)
    train(recipe, folder, options.steps, options.minutes)
    recipe.export(options.weights)


if __name__ == "__main__":
    main()
