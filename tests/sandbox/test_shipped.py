"""The shipped sandbox weights are as good as is said (a quick look; sandbox.evaluate is thorough)."""

import pytest

from sandbox.evaluate import Pairs, distinct_scenes, measure_clip, measure_judge, measure_vqgan
from sandbox.train import WEIGHTS


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return distinct_scenes(200)


def test_held_out_captions_are_all_different(pairs: Pairs) -> None:
    assert len({caption.text for _, caption in pairs}) == 200
    assert {scene.family for scene, _ in pairs[:8]} == {scene.family for scene, _ in pairs}


def test_clip_knows_which_caption_belongs_to_a_scene(pairs: Pairs) -> None:
    assert measure_clip(pairs, WEIGHTS)["all"] > 0.8


def test_vqgan_redraws_scenes_and_uses_its_codes(pairs: Pairs) -> None:
    decibel, used = measure_vqgan(pairs[:80], WEIGHTS)
    assert decibel["all"] > 24
    assert used > 0.9


def test_the_judge_reads_scenes(pairs: Pairs) -> None:
    first, right = measure_judge(pairs, WEIGHTS)
    assert first["all"] > 0.85
    assert right > 0.93
