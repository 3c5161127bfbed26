"""Held-out report of the shipped sandbox weights: ``python -m sandbox.evaluate``.

Every number is computed on scenes whose seeds no recipe trains on.
"""

import argparse
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sandbox.attributes import SLOTS, accuracy, base_rates, stated_log_odds, targets
from sandbox.data import rendered
from sandbox.recipes.judge import Judge, load_judge
from sandbox.recipes.vqgan import psnr, reconstruct
from sandbox.scenes import FAMILIES, HELD_OUT, Caption, Scene, captions, sample_scene
from sandbox.train import WEIGHTS
from weights.loading import load_clip, load_vqgan

COUNT = 1000
BASE_RATE_SCENES = 10_000

Pairs = list[tuple[Scene, Caption]]


def main() -> None:
    """Print the reports asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(REPORTS), help=", ".join(REPORTS))
    parser.add_argument("--count", type=int, default=COUNT, help="how many held-out scenes")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    pairs = distinct_scenes(options.count)
    for network in options.networks:
        REPORTS[network](pairs, options.weights)


def distinct_scenes(wanted: int, first_seed: int = HELD_OUT) -> Pairs:
    """Scenes from ``first_seed`` on whose full captions all differ, families in turn, with those captions."""
    chosen: dict[str, tuple[Scene, Caption]] = {}
    for seed in count(first_seed):
        if len(chosen) == wanted:
            return list(chosen.values())
        scene = sample_scene(seed, FAMILIES[len(chosen) % len(FAMILIES)])
        caption = captions(scene)[0]
        chosen.setdefault(caption.text, (scene, caption))
    raise AssertionError("there is always another seed")


def judge_scores(judge: Judge, pictures: Tensor, pairs: Pairs) -> Tensor:
    """How far each picture speaks for each caption, (pictures, captions); see ``stated_log_odds``."""
    rates = base_rates(targets([sample_scene(seed) for seed in range(BASE_RATE_SCENES)]))
    logits = judge_logits(judge, pictures)
    return torch.stack([stated_log_odds(logits, scene, caption.named, rates) for scene, caption in pairs], 1)


@torch.no_grad()
def judge_logits(judge: Judge, pictures: Tensor) -> Tensor:
    """What the judge reads from pictures (B, 3, H, W) in [0, 1]: (B, LOGITS)."""
    return torch.cat([judge(chunk) for chunk in pictures.split(64)])


def stated_accuracy(logits: Tensor, pairs: Pairs) -> float:
    """Share of the attributes named by each picture's caption that the judge reads right."""
    wanted = targets([scene for scene, _ in pairs])
    for row, (_, caption) in zip(wanted, pairs, strict=True):
        for i, slot in enumerate(SLOTS):
            if slot.family is None or slot.attribute not in caption.named:
                row[i] = -1
    return accuracy(logits, wanted)


def first_by_family(scores: Tensor, pairs: Pairs) -> dict[str, float]:
    """Share of pictures, a family and over all, whose own caption has the highest score."""
    first = scores.argmax(1) == torch.arange(len(scores))
    families = [scene.family for scene, _ in pairs]
    shares = {}
    for family in FAMILIES:
        members = torch.tensor([f == family for f in families])
        shares[family] = first[members].float().mean().item()
    return {**shares, "all": first.float().mean().item()}


@torch.no_grad()
def measure_clip(pairs: Pairs, weights: Path) -> dict[str, float]:
    """How often CLIP ranks a scene's own caption first among all of ``pairs``."""
    clip, tokenizer, _, _ = load_clip(weights / "clip")
    view = clip.config.vision_config.image_size
    images = []
    for drawn in rendered([scene for scene, _ in pairs]):
        pixels = F.interpolate(drawn, (view, view), mode="area") * 2 - 1
        images.append(clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output))
    encoded = tokenizer([caption.text for _, caption in pairs], padding=True, return_tensors="pt")
    texts = clip.text_projection(
        clip.text_model(
            input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]
        ).pooler_output
    )
    return first_by_family(F.normalize(torch.cat(images), dim=-1) @ F.normalize(texts, dim=-1).T, pairs)


def measure_vqgan(pairs: Pairs, weights: Path) -> tuple[dict[str, float], float]:
    """Mean PSNR in dB at 128 pixels by family and over all, and the share of the codes in use."""
    vqgan = load_vqgan(weights / "vqgan.yaml", weights / "vqgan.safetensors")
    scenes = [scene for scene, _ in pairs]
    errors, used = [], torch.zeros(vqgan.config.n_embed, dtype=torch.bool)
    for real in rendered(scenes):
        for chunk in real.split(32):
            drawn, indices = reconstruct(vqgan, chunk)
            errors.append((drawn - chunk).square().mean((1, 2, 3)))
            used[indices.flatten()] = True
    decibel = torch.tensor([psnr(4 * error) for error in torch.cat(errors).tolist()])
    by_family = {f: decibel[torch.tensor([s.family == f for s in scenes])].mean().item() for f in FAMILIES}
    return {**by_family, "all": decibel.mean().item()}, used.float().mean().item()


def measure_judge(pairs: Pairs, weights: Path) -> tuple[dict[str, float], float]:
    """How often the judge ranks a real scene's caption first among 100, and what it reads right."""
    judge = load_judge(weights)
    pictures = torch.cat(list(rendered([scene for scene, _ in pairs])))
    hundreds = [
        first_by_family(judge_scores(judge, pictures[i : i + 100], pairs[i : i + 100]), pairs[i : i + 100])
        for i in range(0, len(pairs) - 99, 100)
    ]
    mean = {name: sum(h[name] for h in hundreds) / len(hundreds) for name in hundreds[0]}
    return mean, stated_accuracy(judge_logits(judge, pictures), pairs)


def _report_clip(pairs: Pairs, weights: Path) -> None:
    _print(f"CLIP: top-1 among {len(pairs)} captions", measure_clip(pairs, weights))


def _report_vqgan(pairs: Pairs, weights: Path) -> None:
    decibel, used = measure_vqgan(pairs, weights)
    _print("VQGAN: PSNR in dB at 128 pixels", decibel)
    print(f"VQGAN: {used:.1%} of the codes used\n")


def _report_judge(pairs: Pairs, weights: Path) -> None:
    first, right = measure_judge(pairs, weights)
    _print("Judge: ranks the caption of a real scene first among 100", first)
    print(f"Judge: reads {right:.1%} of the stated attributes of real scenes right\n")


REPORTS: dict[str, Callable[[Pairs, Path], None]] = {
    "clip": _report_clip,
    "vqgan": _report_vqgan,
    "judge": _report_judge,
}


def _print(title: str, values: dict[str, float]) -> None:
    print(title)
    for name, value in values.items():
        print(f"  {name:12} {value:8.3f}")
    print()


if __name__ == "__main__":
    main()
