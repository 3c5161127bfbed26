"""Every control of VQGAN + CLIP changes the picture as it says, and a checkpoint carries it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from generators import shelf, vqgan_clip
from generators.contract import Context, Frame, GenerationError
from generators.registry import SpecError, least_memory, load, parse_spec
from generators.shelf import Shelf
from generators.vqgan_clip import ROUNDS, SETTLING_ROUNDS
from guidance.losses import Costs
from sandbox.scenes import render, sample_scene
from settings import ROOT

WEIGHTS = ROOT / "res" / "weights"
generate = load("vqgan_clip")

FLOWER, SEA, LEFT_HALF = "1" * 64, "2" * 64, "3" * 64


def scene(family: str) -> np.ndarray:
    picture = render([sample_scene(11, family)], 128)[0]
    return picture.permute(1, 2, 0).mul(255).round().byte().numpy()


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    half = np.zeros((128, 128, 3), np.uint8)
    half[:, :64] = 255
    return {FLOWER: scene("flowers"), SEA: scene("landscapes"), LEFT_HALF: half}


def moving(images: dict[str, np.ndarray], resume: bytes | None = None, **asked: Any) -> Iterator[Frame]:
    quick = {"prompt": "a pink flower", "seed": 5, "steps": 3, "candidates": 2, "cutouts": 4}
    spec = parse_spec("vqgan_clip", {**quick, **asked})
    return iter(generate(spec, Context("cpu", WEIGHTS, resume, images=images.__getitem__)))


def frames(images: dict[str, np.ndarray], **asked: Any) -> list[Frame]:
    return list(moving(images, **asked))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_a_start_image_is_what_the_picture_begins_with(images: dict[str, np.ndarray]) -> None:
    drawn = frames(images, start_image=FLOWER)
    assert len(drawn) == 4  # the start and three steps; nothing is imagined, nothing settles
    assert difference(drawn[0].image, images[FLOWER]) < 8
    assert difference(drawn[0].image, images[SEA]) > 40


def test_imagining_afresh_keeps_part_of_the_start_image(images: dict[str, np.ndarray]) -> None:
    little, much = (
        frames(images, start_image=SEA, start_afresh=afresh, prompt="the sea at night", steps=0)[-1].image
        for afresh in (0.3, 0.9)
    )
    assert difference(little, images[SEA]) < difference(much, images[SEA])


def test_variations_differ_by_their_seed(images: dict[str, np.ndarray]) -> None:
    one, other = (
        frames(images, start_image=SEA, start_afresh=0.6, steps=0, seed=seed)[-1].image for seed in (1, 2)
    )
    assert difference(one, other) > 3


def test_only_what_the_mask_shows_changes(images: dict[str, np.ndarray]) -> None:
    drawn = frames(images, start_image=FLOWER, mask=LEFT_HALF, prompt="a red circle", learning_rate=0.3)
    assert np.array_equal(drawn[-1].image[:, 64:], images[FLOWER][:, 64:])
    assert difference(drawn[-1].image[:, :64], drawn[0].image[:, :64]) > 2


@pytest.mark.parametrize("asked", [{"mask": LEFT_HALF}, {"keep_close": 1}])
def test_a_mask_without_a_start_image_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="needs a start image"):
        parse_spec("vqgan_clip", {"prompt": "x", **asked})


def test_a_lost_picture_is_told_in_a_sentence(images: dict[str, np.ndarray]) -> None:
    with pytest.raises(GenerationError, match="not there any more"):
        frames(images, start_image="9" * 64)


def test_keep_close_keeps_close(images: dict[str, np.ndarray]) -> None:
    asked = {"start_image": FLOWER, "prompt": "a street at night", "steps": 12, "learning_rate": 0.2}
    free, held = (frames(images, **asked, keep_close=weight)[-1].image for weight in (0, 500))
    assert difference(held, images[FLOWER]) < 0.7 * difference(free, images[FLOWER])


def test_an_image_prompt_draws_its_colours(images: dict[str, np.ndarray]) -> None:
    asked = {"prompt": "a green background", "init": "noise", "steps": 25, "cutouts": 8}
    with_sea = frames(images, **asked, image_prompts=[SEA], image_prompt_weight=5.0)
    alone = frames(images, **asked)
    assert difference(with_sea[-1].image, alone[-1].image) > 5


def test_a_story_goes_on_to_its_next_chapter(images: dict[str, np.ndarray]) -> None:
    story = frames(images, prompt="a red circle ^ a blue square", steps=2, settling=0)
    assert story[-1].step == ROUNDS - 1 + 2 * 2
    first_alone = frames(images, prompt="a red circle", steps=2, settling=0)
    assert np.array_equal(story[ROUNDS].image, first_alone[ROUNDS].image)


def test_weights_of_the_parts_matter(images: dict[str, np.ndarray]) -> None:
    towards, away = (
        frames(images, prompt=f"a red circle | blue:{weight}", init="noise", steps=15)[-1].image
        for weight in (3, -0.9)
    )
    assert towards[..., 2].mean() > away[..., 2].mean() + 5


@pytest.mark.parametrize("init", ["pixels", "gradient"])
def test_other_starts_are_drawn_from_the_seed(images: dict[str, np.ndarray], init: str) -> None:
    one, again, other = (frames(images, init=init, steps=0, seed=seed)[-1].image for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert difference(one, other) > 5


def test_the_camera_zooms_in(images: dict[str, np.ndarray]) -> None:
    asked = {"start_image": FLOWER, "steps": 2, "camera_every": 1, "learning_rate": 1e-4}
    still, zoomed = (frames(images, **asked, zoom=zoom)[1].image for zoom in (1.0, 2.0))
    middle = images[FLOWER][32:96, 32:96].repeat(2, axis=0).repeat(2, axis=1)
    assert difference(zoomed, middle) < 0.6 * difference(still, middle)


def test_the_camera_pans_to_the_right(images: dict[str, np.ndarray]) -> None:
    asked = {"start_image": FLOWER, "steps": 2, "camera_every": 1, "learning_rate": 1e-4}
    panned = frames(images, **asked, pan_x=0.25)[1].image
    assert difference(panned[:, 32:], images[FLOWER][:, :-32]) < 12


def test_the_second_pass_is_larger_and_shows_the_same(images: dict[str, np.ndarray]) -> None:
    drawn = frames(images, enlarge=1.5, enlarge_steps=2, steps=2)
    assert [frame.image.shape for frame in drawn[-3:]] == [(192, 192, 3)] * 3
    assert drawn[-4].image.shape == (128, 128, 3)
    assert [frame.step for frame in drawn] == list(range(drawn[-1].steps + 1))
    assert {frame.steps for frame in drawn} == {ROUNDS - 1 + 2 + SETTLING_ROUNDS + 3}
    small = drawn[-1].image.reshape(128, 3, 64, 3, 3)[:, 1, :, 1] if False else drawn[-1].image[::3, ::3]
    assert difference(small, drawn[-4].image[::2, ::2]) < 25


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "a red circle ^ a blue square", "settling": 0},
        {"zoom": 1.1, "turn": 5, "camera_every": 2},
        {"averaging": 0.8, "optimiser": "radam", "schedule": "cosine"},
        {"start_image": FLOWER, "mask": LEFT_HALF, "keep_close": 5, "keep_close_decay": 1},
        {"enlarge": 1.5, "enlarge_steps": 2},
        {"flip": 0.5, "perspective": 0.3, "colour_jitter": 0.3, "erasing": 0.3, "grayscale": 0.2},
    ],
    ids=lambda asked: "-".join(asked),
)
def test_from_any_checkpoint_on_the_pixels_are_the_same(
    images: dict[str, np.ndarray], asked: dict[str, Any]
) -> None:
    straight = moving(images, **asked)
    saved = []
    drawn = []
    for frame in straight:
        drawn.append(frame)
        saved.append(frame.checkpoint() if frame.checkpoint else None)
    for at, state in enumerate(saved):
        if state is None or at % 3:
            continue
        resumed = list(moving(images, resume=state, **asked))
        assert [frame.step for frame in resumed] == list(range(at, len(drawn)))
        pairs = zip(resumed, drawn[at:], strict=True)
        assert all(np.array_equal(a.image, b.image) for a, b in pairs), at


def test_the_height_follows_the_aspect_ratio() -> None:
    spec = parse_spec("vqgan_clip", {"prompt": "x", "width": 256, "aspect": "16:9", "height": 999})
    assert (spec.width, spec.height) == (256, 144)
    assert parse_spec("vqgan_clip", spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize("given", [{"aspect": []}, {"width": 1e999}, {"width": "9" * 400}, {"width": "nan"}])
def test_an_aspect_or_a_width_that_means_nothing_is_told(given: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="|".join(given)):
        parse_spec("vqgan_clip", {"prompt": "x", "aspect": "16:9"} | given)


def test_a_picture_that_does_not_fit_is_refused_with_the_size_that_does(
    images: dict[str, np.ndarray],
) -> None:
    spec = parse_spec("vqgan_clip", {"prompt": "x", "width": 1024, "height": 1024})
    with pytest.raises(GenerationError, match="choose at most"):
        next(iter(generate(spec, Context("cpu", WEIGHTS, memory=10**9))))


def test_with_little_memory_cutouts_are_looked_at_a_few_at_a_time(images: dict[str, np.ndarray]) -> None:
    asked = {"prompt": "a pink flower", "seed": 5, "steps": 2, "candidates": 2, "cutouts": 64}
    spec = parse_spec("vqgan_clip", asked)
    ends = [
        list(generate(spec, Context("cpu", WEIGHTS, memory=memory)))[-1] for memory in (None, 600_000_000)
    ]
    assert difference(ends[0].image, ends[1].image) < 2


def test_the_second_pass_begins_as_close_as_the_first_ended(
    images: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = []

    class Watched(Costs):
        def of(self, picture: Tensor, closeness: float = 1.0) -> Tensor | None:
            paid.append(self.keep_close * closeness)
            return super().of(picture, closeness)

    monkeypatch.setattr(vqgan_clip, "Costs", Watched)
    story = {"prompt": "a pink flower ^ the sea", "start_image": FLOWER, "steps": 2}
    frames(images, **story, keep_close=8, keep_close_decay=0.5, enlarge=1.5, enlarge_steps=2)
    assert paid == [8, 7, 6, 5, 4, 4]


def test_memory_that_is_short_only_now_does_not_change_a_resumed_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "_shelf", Shelf())
    asked = {"prompt": "a pink flower", "seed": 5, "steps": 4, "init": "noise", "cutouts": 16}
    asked |= {"enlarge": 1.5, "enlarge_steps": 2}
    spec = parse_spec("vqgan_clip", asked)
    straight = list(kept(generate(spec, Context("cpu", WEIGHTS))))
    _, saved = straight[2]
    few = least_memory(spec) + 10**6 - shelf._shelf.size  # enough for one cutout at a time
    resumed = list(generate(spec, Context("cpu", WEIGHTS, saved, memory=few)))
    pairs = list(zip(resumed, straight[2:], strict=True))[1:]  # the first has no loss yet
    assert all(np.array_equal(a.image, b.image) and a.numbers == b.numbers for a, (b, _) in pairs)


def kept(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bytes | None]]:
    for frame in frames:
        yield frame, frame.checkpoint() if frame.checkpoint else None


def test_frames_come_one_at_a_time(images: dict[str, np.ndarray]) -> None:
    assert len(list(islice(moving(images), 2))) == 2
