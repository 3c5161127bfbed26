"""VQGAN + CLIP with the shipped weights: what a job, a notebook or a test gets from the generator."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generators.contract import Context, Frame, GenerationError
from generators.registry import load, parse_spec
from generators.vqgan_clip import ROUNDS, SETTLING_ROUNDS, Networks
from guidance.clip import Clip
from guidance.latent_optimiser import LatentOptimiser
from settings import ROOT
from weights import catalogue

WEIGHTS = ROOT / "res" / "weights"
PROMPT = "a red circle on a blue background"
generate = load("vqgan_clip")


def frames(context: Context | None = None, **parameters: Any) -> list[Frame]:
    quick = {"prompt": PROMPT, "seed": 7, "steps": 3, "candidates": 2, "cutouts": 4}
    spec = parse_spec("vqgan_clip", {**quick, **parameters})
    return list(generate(spec, context or Context("cpu", WEIGHTS)))


def same(a: Frame, b: Frame) -> bool:
    return np.array_equal(a.image, b.image) and a.numbers == b.numbers


def test_frames_run_through_the_start_the_guidance_and_the_settling() -> None:
    drawn = frames()
    last = ROUNDS - 1 + 3 + SETTLING_ROUNDS
    assert [frame.step for frame in drawn] == list(range(last + 1))
    assert all(frame.steps == last for frame in drawn)
    assert all(frame.image.shape == (128, 128, 3) and frame.image.dtype == np.uint8 for frame in drawn)
    assert "score" in drawn[ROUNDS - 1].numbers
    assert "loss" in drawn[ROUNDS].numbers
    assert "score" in drawn[-1].numbers


def test_without_settling_the_picture_is_as_guidance_left_it() -> None:
    settled, guided = frames(), frames(settling=0)
    assert len(guided) == len(settled) - SETTLING_ROUNDS
    assert all(np.array_equal(a.image, b.image) for a, b in zip(guided, settled, strict=False))
    assert not np.array_equal(guided[-1].image, settled[-1].image)


def test_settling_keeps_what_is_in_the_picture() -> None:
    drawn = frames(steps=1)
    guided, settled = (drawn[at].image.astype(float) for at in (ROUNDS, -1))
    assert np.abs(guided - settled).mean() < 25


@pytest.mark.parametrize("init", ["prior", "noise"])
def test_the_same_spec_gives_the_same_pixels_whatever_came_before(init: str) -> None:
    first = frames(init=init)
    torch.manual_seed(123)
    frames(init=init, seed=8)
    second = frames(init=init)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


def test_another_seed_gives_another_picture() -> None:
    assert not same(frames(steps=0)[-1], frames(steps=0, seed=8)[-1])


def test_a_resumed_picture_ends_in_the_same_pixels() -> None:
    spec = parse_spec("vqgan_clip", {"prompt": PROMPT, "seed": 3, "steps": 6, "candidates": 2, "cutouts": 4})
    straight = generate(spec, Context("cpu", WEIGHTS))
    until_third = list(islice(straight, ROUNDS + 3))
    checkpoint = until_third[-1].checkpoint
    assert checkpoint is not None
    saved = checkpoint()
    rest = list(straight)
    resumed = list(generate(spec, Context("cpu", WEIGHTS, resume=saved)))
    assert [frame.step for frame in resumed] == list(range(ROUNDS + 2, ROUNDS + 6 + SETTLING_ROUNDS))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(rest, resumed[1:], strict=True))


def test_guidance_from_noise_raises_the_score() -> None:
    drawn = frames(init="noise", steps=25, cutouts=8)
    assert drawn[-1].numbers["score"] > drawn[0].numbers["score"] + 0.1


def test_the_prior_draws_the_colours_of_the_prompt() -> None:
    image = frames(prompt="a large red circle on a blue background", steps=0, candidates=8)[-1].image
    red, green, blue = image.reshape(-1, 3).T.astype(int)
    assert (blue > np.maximum(red, green) + 40).mean() > 0.4
    assert (red > np.maximum(blue, green) + 40).mean() > 0.02


@pytest.mark.parametrize(("width", "height"), [(64, 64), (192, 128), (96, 160)])
def test_any_size_can_be_drawn_from_either_start(width: int, height: int) -> None:
    for init in ("prior", "noise"):
        drawn = frames(width=width, height=height, steps=1, init=init)
        assert drawn[-1].image.shape == (height, width, 3)


@pytest.mark.parametrize("prompt", ["a cyberpunk zeppelin", "日本の猫", "!!!", "x" * 500, "word " * 100])
def test_words_it_does_not_know_are_no_error(prompt: str) -> None:
    assert frames(prompt=prompt, steps=1)[-1].step == ROUNDS + SETTLING_ROUNDS


def test_nothing_is_drawn_from_global_randomness() -> None:
    frames(steps=1)
    before = torch.get_rng_state()
    frames()
    assert torch.equal(before, torch.get_rng_state())


def test_damaged_weights_are_refused_with_a_sentence(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "sandbox", tmp_path / "sandbox")
    file = tmp_path / "sandbox" / "prior.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(GenerationError, match=r"prior\.safetensors is damaged"):
        frames(Context("cpu", tmp_path))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="is missing"):
        frames(Context("cpu", tmp_path))


def refuse(*_: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")


@pytest.mark.parametrize(
    ("owner", "name", "asked"),
    [
        (LatentOptimiser, "score", {"init": "noise"}),
        (LatentOptimiser, "shown", {"init": "noise"}),
        (Networks, "encode", {"init": "pixels"}),
        (Networks, "draw", {"init": "prior"}),
        (Clip, "encode_text", {"init": "noise"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_memory_that_runs_out_anywhere_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, asked: dict[str, Any]
) -> None:
    monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(GenerationError, match="not enough memory for this picture: choose a smaller size"):
        frames(**asked)


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(LatentOptimiser, "score", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        frames(init="noise")


def test_short_of_memory_fewer_scenes_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, draw = frames(steps=0, candidates=5), Networks.draw
    monkeypatch.setattr(Networks, "draw", lambda *of: refuse() if len(of[1]) > 2 else draw(*of))
    halved = frames(steps=0, candidates=5)
    assert np.array_equal(halved[-1].image, whole[-1].image)


def test_a_checkpoint_of_a_gpu_is_resumed_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse_spec("vqgan_clip", {"prompt": PROMPT, "seed": 3, "steps": 2, "init": "noise", "cutouts": 4})
    straight = list(generate(spec, Context("cpu", WEIGHTS)))
    with monkeypatch.context() as gpu:
        gpu.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        saved = list(islice(generate(spec, Context("cpu", WEIGHTS)), 2))[-1].checkpoint()
    resumed = list(generate(spec, Context("cpu", WEIGHTS, resume=saved)))
    assert np.array_equal(resumed[-1].image, straight[-1].image)


def test_the_catalogue_lists_every_file_that_ships() -> None:
    sets = [entry for entry in catalogue.entries() if entry.name.startswith("sandbox")]
    listed = {file.path for entry in sets for file in entry.files}
    used = {str(p.relative_to(WEIGHTS)) for p in (WEIGHTS / "sandbox").rglob("*") if p.is_file()}
    assert listed == used - {"sandbox/judge.safetensors"}
    assert sum(p.stat().st_size for p in (WEIGHTS / "sandbox").rglob("*") if p.is_file()) < 40e6
