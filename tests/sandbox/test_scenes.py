"""The drawn world keeps its promises: determinism, honest captions, visible attributes."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.scenes import (
    ATTRIBUTES,
    CLASSES,
    FAMILIES,
    HELD_OUT,
    Scene,
    captions,
    matte,
    render,
    sample_scene,
    segment,
    vocabulary,
)

PERSON = [CLASSES.index(name) for name in ("person", "hair", "clothes", "hat", "glasses")]
SYNONYMS = {
    "one": {"a", "an", "one"},
    "two": {"of", "above", "below", "and"},
    "left of": {"left", "right"},
    "above": {"above", "below"},
    "small": {"small", "little"},
    "large": {"large", "big"},
    "perched": {"branch"},
    "flying": {"flying", "sky"},
    "rainy": {"rain", "rainy"},
    "snowy": {"snow", "snowy"},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def scenes_of(family: str, count: int, start: int = 0) -> list[Scene]:
    return [sample_scene(start + index, family) for index in range(count)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2 * HELD_OUT))
def test_a_seed_gives_one_scene_and_one_picture(seed: int) -> None:
    scene = sample_scene(seed)
    assert scene == sample_scene(seed) == sample_scene(seed, scene.family)
    assert torch.equal(render([scene], 32), render([scene], 32))


def test_families_are_drawn_evenly() -> None:
    drawn = [sample_scene(seed).family for seed in range(1600)]
    assert all(150 < drawn.count(family) < 250 for family in FAMILIES)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    scenes = [sample_scene(seed) for seed in range(40)]
    together = render(scenes, 48)
    alone = torch.cat([render([scene], 48) for scene in scenes])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_in_range_and_segmented_into_known_classes(family: str) -> None:
    scenes = scenes_of(family, 16)
    pictures, maps = render(scenes, 40), segment(scenes, 40)
    assert pictures.shape == (16, 3, 40, 40)
    assert pictures.dtype == torch.float32
    assert 0 <= pictures.min() <= pictures.max() <= 1
    assert maps.shape == (16, 40, 40)
    assert maps.dtype == torch.uint8
    assert maps.max() < len(CLASSES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_picture_is_the_same_at_every_resolution(family: str) -> None:
    scenes = scenes_of(family, 8)
    reduced = torch.nn.functional.avg_pool2d(render(scenes, 128), 2)
    error = (reduced - render(scenes, 64)).square().mean((1, 2, 3))
    assert error.max() < 10**-2.6


@pytest.mark.parametrize("family", FAMILIES)
def test_every_value_occurs_and_no_other(family: str) -> None:
    scenes = scenes_of(family, 1500)
    for name, values in ATTRIBUTES[family].items():
        assert {scene.attributes[name] for scene in scenes} == set(values)
    assert all(set(scene.attributes) == set(ATTRIBUTES[family]) for scene in scenes)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_attribute_changes_the_picture(family: str) -> None:
    scenes = scenes_of(family, 40)
    pictures = render(scenes, 64)
    for name, values in ATTRIBUTES[family].items():
        for value in set(values) - {"none", "no"}:
            changed = [
                (index, Scene(family, scene.seed, scene.attributes | {name: value}))
                for index, scene in enumerate(scenes)
                if scene.attributes[name] not in (value, "none", "no") and name not in ("count", "sun")
            ][:2]
            for index, scene in changed:
                moved = (render([scene], 64)[0] - pictures[index]).abs().amax(0) > 0.05
                assert moved.float().mean() > 0.002, (name, scene)


@pytest.mark.parametrize(
    ("family", "name", "values"),
    [
        ("people", "glasses", ("no", "yes")),
        ("people", "beard", ("no", "yes")),
        ("people", "hat", ("none", "red")),
        ("streets", "trees", ("no", "yes")),
        ("streets", "car", ("none", "blue")),
        ("animals", "scarf", ("none", "green")),
        ("landscapes", "balloon", ("none", "yellow")),
        ("landscapes", "sun", ("left", "right")),
    ],
)
def test_presence_shows(family: str, name: str, values: tuple[str, str]) -> None:
    for scene in scenes_of(family, 60):
        if scene.attributes.get("kind") == "woman" or scene.attributes[name] not in values:
            continue
        both = [Scene(family, scene.seed, scene.attributes | {name: value}) for value in values]
        without, with_it = render(both, 64)
        assert ((without - with_it).abs().amax(0) > 0.05).float().mean() > 0.01


def test_a_plain_shape_covers_what_its_segmentation_says() -> None:
    values = {
        "count": "one", "shape": "circle", "colour": "red", "size": "large", "other_shape": "none",
        "other_colour": "none", "relation": "none", "background": "white",
    }  # fmt: skip
    scenes = [Scene("shapes", seed, values) for seed in range(8)]
    reddish = render(scenes, 64)[:, 1] < 0.4
    marked = segment(scenes, 64) == CLASSES.index("shape")
    assert (reddish == marked).float().mean() > 0.99


def test_the_matte_is_the_person_of_the_segmentation() -> None:
    scenes = scenes_of("people", 32)
    alpha = matte(scenes, 64)
    assert alpha.shape == (32, 1, 64, 64)
    assert 0 <= alpha.min() <= alpha.max() <= 1
    person = torch.isin(segment(scenes, 64), torch.tensor(PERSON, dtype=torch.uint8))
    assert ((alpha[:, 0] > 0.5) == person).float().mean() > 0.995


def test_a_matte_of_anything_but_people_is_refused() -> None:
    with pytest.raises(ValueError, match="Only people have a matte"):
        matte([sample_scene(0, "people"), sample_scene(0, "birds")])


@pytest.mark.parametrize("family", FAMILIES)
def test_captions_state_what_they_name(family: str) -> None:
    for scene in scenes_of(family, 300):
        for caption in captions(scene):
            text = set(words(caption.text))
            for name in caption.named:
                value = scene.attributes[name]
                wanted = {name} if value == "yes" else SYNONYMS.get(value, {value})
                assert text & wanted, (name, value, caption)


@pytest.mark.parametrize("family", FAMILIES)
def test_captions_are_short_and_in_the_vocabulary(family: str) -> None:
    known = set(vocabulary())
    for scene in scenes_of(family, 300):
        texts = [caption.text for caption in captions(scene)]
        assert 4 <= len(texts) <= 6
        assert len(set(texts)) == len(texts)
        for text in texts:
            assert re.fullmatch(r"[a-z]+(,? [a-z]+)*", text), text
            assert len(words(text)) <= 24
            assert set(words(text)) <= known


def test_every_word_of_the_vocabulary_is_used() -> None:
    scenes = [scene for family in FAMILIES for scene in scenes_of(family, 400)]
    used = {word for scene in scenes for caption in captions(scene) for word in words(caption.text)}
    assert vocabulary() == tuple(sorted(used))
    assert len(vocabulary()) < 140


@pytest.mark.parametrize("family", FAMILIES)
def test_the_full_caption_names_everything_that_is_there(family: str) -> None:
    for scene in scenes_of(family, 200):
        present = {name for name, value in scene.attributes.items() if value not in ("none", "no")}
        assert set(captions(scene)[0].named) == present


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_caption_fixes_all_attributes(family: str) -> None:
    meanings: dict[str, dict[str, str]] = {}
    for scene in scenes_of(family, 2000):
        text = captions(scene)[0].text
        assert meanings.setdefault(text, scene.attributes) == scene.attributes


def test_full_captions_of_a_thousand_scenes_are_mostly_distinct() -> None:
    texts = {captions(sample_scene(HELD_OUT + index))[0].text for index in range(1000)}
    assert len(texts) > 930
