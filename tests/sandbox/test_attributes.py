"""Attributes as targets and logits: what the judge's verdicts rest on."""

import torch

from sandbox.attributes import (
    ABSENT,
    LOGITS,
    SLOTS,
    accuracy,
    attribute_loss,
    base_rates,
    fits,
    stated,
    stated_log_odds,
    targets,
)
from sandbox.scenes import ATTRIBUTES, FAMILIES, captions, sample_scene

SCENES = [sample_scene(seed) for seed in range(400)]
WANTED = targets(SCENES)


def perfect_logits(wanted: torch.Tensor) -> torch.Tensor:
    logits = torch.zeros(len(wanted), LOGITS)
    for i, slot in enumerate(SLOTS):
        for row in (wanted[:, i] != ABSENT).nonzero().flatten():
            logits[row, slot.start + wanted[row, i]] = 20.0
    return logits


def test_slots_lie_side_by_side_and_cover_every_value() -> None:
    assert [slot.start for slot in SLOTS[1:]] == [slot.stop for slot in SLOTS[:-1]]
    values = sum(len(v) for family in FAMILIES for v in ATTRIBUTES[family].values())
    assert len(FAMILIES) + values == LOGITS


def test_every_scene_has_a_family_and_only_its_own_attributes() -> None:
    for scene, row in zip(SCENES, WANTED, strict=True):
        for slot, index in zip(SLOTS, row.tolist(), strict=True):
            if index != ABSENT:
                said = scene.family if slot.family is None else scene.attributes[slot.attribute]
                assert slot.values[index] == said
            else:
                assert slot.family not in (None, scene.family)


def test_perfect_logits_cost_nothing_and_are_all_right() -> None:
    logits = perfect_logits(WANTED)
    assert attribute_loss(logits, WANTED) < 1e-4
    assert accuracy(logits, WANTED) == 1
    assert accuracy(torch.randn(400, LOGITS, generator=torch.Generator().manual_seed(0)), WANTED) < 0.5


def test_a_picture_read_perfectly_speaks_most_for_its_own_caption() -> None:
    scenes = [sample_scene(seed, "people") for seed in range(60)]
    chosen = {captions(scene)[0].text: scene for scene in scenes}
    pairs = [(scene, captions(scene)[0]) for scene in chosen.values()]
    logits = perfect_logits(targets([scene for scene, _ in pairs]))
    rates = base_rates(WANTED)
    scores = torch.stack([stated_log_odds(logits, s, c.named, rates) for s, c in pairs], 1)
    own = scores.diagonal()
    assert (own >= scores.max(1).values - 1e-3).all()


def test_base_rates_are_log_probabilities() -> None:
    rates = base_rates(WANTED)
    for slot in SLOTS:
        total = rates[slot.start : slot.stop].exp().sum()
        torch.testing.assert_close(total, torch.tensor(1.0), atol=1e-4, rtol=0)


def test_a_caption_fits_every_scene_that_has_what_it_states() -> None:
    scenes = [sample_scene(seed, "flowers") for seed in range(60)]
    wordings = [captions(scene)[-1] for scene in scenes]
    said = torch.cat([stated(s, [w]) for s, w in zip(scenes, wordings, strict=True)])
    true = fits(targets(scenes), said)
    for i, scene in enumerate(scenes):
        for j, wording in enumerate(wordings):
            agrees = all(scene.attributes[name] == scenes[j].attributes[name] for name in wording.named)
            assert true[i, j] == agrees
