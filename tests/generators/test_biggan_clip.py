"""BigGAN + CLIP with the shipped weights: what a job, a notebook or a test gets from the generator."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from generators import biggan_clip
from generators.biggan_clip import BATCH, BOUND, ROUNDS, Networks, draw_atlas, truncated_noise
from generators.contract import Context, Frame, GenerationError
from generators.registry import load, parse_spec
from generators.shelf import installed
from guidance.clip import Clip
from networks.biggan import BigGAN, BigGANConfig
from sandbox.forms import forms
from settings import ROOT
from weights.loading import load_biggan

WEIGHTS = ROOT / "res" / "weights"
PROMPT = "a white bear in the snow"
generate = load("biggan_clip")


def frames(context: Context | None = None, **parameters: Any) -> list[Frame]:
    quick = {"prompt": PROMPT, "seed": 7, "steps": 3, "candidates": 70, "contestants": 0, "cutouts": 4}
    spec = parse_spec("biggan_clip", {**quick, **parameters})
    return list(generate(spec, context or Context("cpu", WEIGHTS)))


def same(a: Frame, b: Frame) -> bool:
    return np.array_equal(a.image, b.image) and a.numbers == b.numbers


def test_frames_run_through_the_draws_and_the_guidance() -> None:
    drawn = frames()
    batches = 3  # of at most 32
    assert BATCH == 32
    assert [frame.step for frame in drawn] == list(range(batches + 3))
    assert all(frame.steps == batches + 2 for frame in drawn)
    assert all(frame.image.shape == (64, 64, 3) and frame.image.dtype == np.uint8 for frame in drawn)


def test_in_the_contest_the_best_draws_follow_the_gradient() -> None:
    alone, contest = frames(steps=0), frames(steps=0, contestants=6)
    assert len(contest) == len(alone) + sum(steps for _, steps in ROUNDS)
    assert contest[-1].numbers["score"] > alone[-1].numbers["score"] + 0.05


def test_the_shipped_atlas_is_the_shipped_networks() -> None:
    entry = installed("sandbox-biggan", WEIGHTS)
    folder = WEIGHTS / "sandbox"
    clip = Clip.load(folder / "clip", "cpu", torch.float32)
    biggan = load_biggan(folder / "biggan" / "config.json", folder / "biggan" / "biggan.safetensors")
    shipped = load_file(WEIGHTS / entry.networks["atlas"])["classes"].float()
    drawn = draw_atlas(biggan, clip, pairs=1)
    assert shipped.shape == drawn.shape
    assert (drawn @ shipped.T).argmax(1).eq(torch.arange(len(shipped))).float().mean() > 0.5


def test_the_atlas_knows_which_class_a_prompt_means() -> None:
    clip = Clip.load(WEIGHTS / "sandbox" / "clip", "cpu", torch.float32)
    atlas = load_file(WEIGHTS / installed("sandbox-biggan", WEIGHTS).networks["atlas"])["classes"].float()
    for prompt, form in {
        "a green bird flying in the sky": ("birds", "flying"),
        "a white bear in the snow": ("animals", "bear", "snow"),
    }.items():
        fitting = (atlas @ clip.encode_text([prompt])[0].float()).argsort(descending=True)
        assert forms().index(form) in fitting[:20].tolist()


def test_guidance_raises_the_score_of_the_best_draw() -> None:
    drawn = frames(steps=25, cutouts=8, learning_rate=0.1)
    assert drawn[-1].numbers["score"] > drawn[2].numbers["score"] + 0.02


@pytest.mark.parametrize("each_layer", [True, False])
def test_the_same_spec_gives_the_same_pixels_whatever_came_before(each_layer: bool) -> None:
    first = frames(each_layer=each_layer, classes=3)
    torch.manual_seed(123)
    frames(seed=8)
    second = frames(each_layer=each_layer, classes=3)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


def test_another_seed_gives_another_picture() -> None:
    assert not same(frames(steps=0)[-1], frames(steps=0, seed=8)[-1])


def test_a_resumed_picture_ends_in_the_same_pixels() -> None:
    asked = {
        "prompt": PROMPT,
        "seed": 3,
        "steps": 6,
        "candidates": 20,
        "contestants": 0,
        "cutouts": 4,
        "classes": 2,
    }
    spec = parse_spec("biggan_clip", asked)
    straight = generate(spec, Context("cpu", WEIGHTS))
    *_, third = islice(straight, 4)
    assert third.checkpoint is not None
    saved = third.checkpoint()
    rest = list(straight)
    resumed = list(generate(spec, Context("cpu", WEIGHTS, resume=saved)))
    assert [frame.step for frame in resumed] == list(range(third.step, rest[-1].step + 1))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(rest, resumed[1:], strict=True))


def test_one_candidate_and_no_steps_are_enough() -> None:
    assert len(frames(candidates=1, steps=0)) == 1


def test_low_truncation_draws_more_alike() -> None:
    def spread(truncation: float) -> float:
        ends = [
            frames(candidates=1, steps=0, truncation=truncation, seed=seed)[-1].image for seed in range(4)
        ]
        return float(np.std(np.stack(ends).astype(float), axis=0).mean())

    noise = [
        truncated_noise((2000, 8), truncation, torch.Generator().manual_seed(0)) for truncation in (1, 0.3)
    ]
    assert noise[0].abs().max() <= BOUND
    torch.testing.assert_close(noise[1], 0.3 * noise[0])
    assert spread(1.0) > spread(0.3)


def test_nothing_is_drawn_from_global_randomness() -> None:
    before = torch.get_rng_state()
    frames()
    assert torch.equal(before, torch.get_rng_state())


def draw_at_most(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory run out where more pictures are drawn together."""
    drawn = biggan_clip._drawn

    def draw(spec: Any, networks: Networks, noise: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        if len(noise) > count:
            raise torch.OutOfMemoryError
        return drawn(spec, networks, noise, kinds)

    monkeypatch.setattr(biggan_clip, "_drawn", draw)


def test_short_of_memory_fewer_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = frames(steps=0, contestants=6)
    draw_at_most(3, monkeypatch)
    halved = frames(steps=0, contestants=6)
    assert [frame.step for frame in halved] == [frame.step for frame in whole]
    assert np.abs(halved[0].image.astype(float) - whole[0].image).mean() < 3
    assert halved[-1].numbers["score"] == pytest.approx(whole[-1].numbers["score"], abs=0.02)


def test_what_does_not_fit_at_all_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_at_most(0, monkeypatch)
    with pytest.raises(GenerationError, match="not enough memory for this picture: choose smaller weights"):
        frames()


@pytest.mark.parametrize(("side", "together"), [(64, 32), (128, 32), (256, 8), (512, 2)])
def test_the_larger_pictures_are_the_fewer_are_drawn_together(side: int, together: int) -> None:
    doublings = [(True, 16, 16)] * (side // 8).bit_length()
    config = BigGANConfig(
        output_dim=side, channel_width=8, layers=(*doublings[1:], (True, 16, 1)), attention_layer_position=1
    )
    with torch.device("meta"):
        networks = Networks(BigGAN(config), None, None)
    assert min(BATCH, biggan_clip._together(networks, biggan_clip.DRAWN_PIXELS)) == together
