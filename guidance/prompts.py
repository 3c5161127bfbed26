"""The language of prompts: weighted parts, and chapters of a story. No torch here.

``a forest | oil painting:0.5 | people:-0.3`` asks for two things and against a third; ``a lake ^ a desert``
first draws a lake and then makes a desert of it.
"""

import re
from dataclasses import dataclass

CHAPTER, PART = "^", "|"
LARGEST_WEIGHT = 10.0
_WEIGHTED = re.compile(r"(?P<text>(.*\D)?)\s*:\s*(?P<weight>[+-]?(\d+(\.\d*)?|\.\d+))", re.DOTALL)
"""A digit before the colon makes it a time or a ratio, and part of the text."""


@dataclass(frozen=True)
class Part:
    """One thing to draw, or with a negative ``weight`` one to keep out."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Chapter:
    """What guidance looks for at the same time."""

    parts: tuple[Part, ...]

    @property
    def wanted(self) -> str:
        """The parts with positive weights as one sentence, the heaviest first."""
        wanted = [part for part in self.parts if part.weight > 0]
        return ", ".join(part.text for part in sorted(wanted, key=lambda part: -part.weight))


def parse_prompt(prompt: str) -> tuple[Chapter, ...]:
    """The chapters of a prompt, at least one.

    Raises:
        ValueError: one sentence on what is wrong: a part is empty, or a weight too large, or nothing is asked
            for.
    """
    return tuple(_chapter(text) for text in prompt.split(CHAPTER))


def _chapter(text: str) -> Chapter:
    parts = tuple(_part(piece.strip()) for piece in text.split(PART))
    if not any(part.weight > 0 for part in parts):
        raise ValueError(f"'{text.strip()}' only says what not to draw: add a part with a positive weight.")
    return Chapter(parts)


def _part(piece: str) -> Part:
    match = _WEIGHTED.fullmatch(piece)
    text, weight = (match["text"].strip(), float(match["weight"])) if match else (piece, 1.0)
    if not text:
        raise ValueError(
            f"A part of the prompt is empty: write something on both sides of {PART} and {CHAPTER}."
        )
    if abs(weight) > LARGEST_WEIGHT:
        raise ValueError(f"The weight of '{text}' goes from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}.")
    return Part(text, weight)
