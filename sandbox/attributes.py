"""Attributes as numbers: what the judge reads from a picture and what teaches CLIP's image tower to look."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sandbox.scenes import ATTRIBUTES, FAMILIES, Caption, Scene

ABSENT = -1


@dataclass(frozen=True)
class Slot:
    """One question to a picture: its family, or one attribute of a family; ``start:stop`` are its logits."""

    family: str | None
    attribute: str
    values: tuple[str, ...]
    start: int

    @property
    def stop(self) -> int:
        return self.start + len(self.values)


def _slots() -> tuple[Slot, ...]:
    slots = [Slot(None, "family", FAMILIES, 0)]
    for family in FAMILIES:
        for attribute, values in ATTRIBUTES[family].items():
            slots.append(Slot(family, attribute, values, slots[-1].stop))
    return tuple(slots)


SLOTS = _slots()
LOGITS = SLOTS[-1].stop


def targets(scenes: Iterable[Scene]) -> Tensor:
    """Index of each scene's value a slot, (B, len(SLOTS)) int64; ABSENT where a slot does not apply."""
    rows = []
    for scene in scenes:
        row = []
        for slot in SLOTS:
            value = scene.family if slot.family is None else scene.attributes.get(slot.attribute)
            applies = slot.family in (None, scene.family) and value in slot.values
            row.append(slot.values.index(str(value)) if applies else ABSENT)
        rows.append(row)
    return torch.tensor(rows)


def stated(scene: Scene, wordings: Sequence[Caption]) -> Tensor:
    """Which slots each wording of a scene states, (len(wordings), len(SLOTS)) bool; the family always."""
    rows = [
        [
            slot.family is None or (slot.family == scene.family and slot.attribute in caption.named)
            for slot in SLOTS
        ]
        for caption in wordings
    ]
    return torch.tensor(rows)


def fits(wanted: Tensor, stated: Tensor) -> Tensor:
    """Which of B captions hold for which of B scenes: those whose every stated value the scene has.

    Args:
        wanted: (B, len(SLOTS)) the scenes' values; caption ``j`` was written for scene ``j``.
        stated: (B, len(SLOTS)) bool, what caption ``j`` states.

    Returns:
        (B, B) bool, scenes by captions; its diagonal is True.
    """
    agree = wanted[:, None] == wanted[None, :]
    return (agree | ~stated[None, :]).all(-1)


def attribute_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross-entropy of the slots that apply; ``logits`` (B, LOGITS), ``wanted`` (B, len(SLOTS))."""
    logits = logits.float()
    losses = [
        F.cross_entropy(logits[:, slot.start : slot.stop], wanted[:, i], ignore_index=ABSENT, reduction="sum")
        for i, slot in enumerate(SLOTS)
    ]
    return torch.stack(losses).sum() / (wanted != ABSENT).sum().clamp(min=1)


def accuracy(logits: Tensor, wanted: Tensor) -> float:
    """Share of the applying slots whose most likely value is the right one."""
    right = [
        logits[:, slot.start : slot.stop].argmax(1) == wanted[:, i]  # ABSENT never equals an index
        for i, slot in enumerate(SLOTS)
    ]
    return torch.stack(right).sum().item() / (wanted != ABSENT).sum().item()


def stated_log_odds(logits: Tensor, scene: Scene, named: Sequence[str], base_rate: Tensor) -> Tensor:
    """How far pictures speak for a caption: pointwise mutual information of picture and stated values.

    Args:
        logits: (B, LOGITS).
        scene: the scene that the caption describes.
        named: the attributes that the caption states.
        base_rate: (LOGITS,) log frequency of each value among scenes.

    Returns:
        (B,) sum over family and stated attributes of log p(value | picture) - log p(value).
    """
    total = torch.zeros(len(logits))
    for slot in SLOTS:
        stated = slot.family is None or (slot.family == scene.family and slot.attribute in named)
        if stated:
            value = scene.family if slot.family is None else scene.attributes[slot.attribute]
            index = slot.start + slot.values.index(value)
            total += (
                logits[:, slot.start : slot.stop].log_softmax(1)[:, index - slot.start] - base_rate[index]
            )
    return total


def base_rates(wanted: Tensor) -> Tensor:
    """Log frequency of each value within its slot, (LOGITS,), from ``targets`` of many scenes."""
    rates = []
    for i, slot in enumerate(SLOTS):
        counts = torch.bincount(wanted[:, i][wanted[:, i] != ABSENT], minlength=len(slot.values))
        rates.append(((counts + 1) / (counts.sum() + len(slot.values))).log())
    return torch.cat(rates)
