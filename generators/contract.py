"""What a generator is: ``generate(spec, context) -> Iterator[Frame]``, free of queue, database and disk."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_PROMPT_LENGTH = 500


class GenerationSpec(BaseModel):
    """What a person may ask of any generator; each generator's spec adds its own parameters.

    Every field carries a title, a help text (``description``), bounds and a default: the page's form,
    the command line's flags and the API's schema are derived from it. ``json_schema_extra`` may say
    ``{"unit": ..., "advanced": True}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_LENGTH,
        title="Prompt",
        description="What the picture should show.",
    )
    weights: str = Field(
        title="Weights", description="Which set of trained networks draws and judges the picture."
    )
    seed: int = Field(
        ge=0,
        lt=2**32,
        title="Seed",
        description="The same seed and parameters give the same picture.",
    )

    @field_validator("prompt", mode="before")
    @classmethod
    def _on_one_line(cls, prompt: Any) -> Any:
        """Control characters become spaces: not every database and image format can hold them."""
        if not isinstance(prompt, str):
            return prompt
        return "".join(" " if unicodedata.category(c) == "Cc" else c for c in prompt)


@dataclass(frozen=True)
class Frame:
    """One moment of a forming picture.

    ``image`` is (height, width, 3) uint8. ``step`` counts from 0 (the start) to ``steps``; the last frame
    a generator yields is the finished picture, also when it converges early. ``numbers`` are losses and
    scores by name. ``checkpoint``, called before the next frame is asked for, gives the bytes from which
    another executor goes on after this frame (``Context.resume``).
    """

    image: np.ndarray
    step: int
    steps: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    checkpoint: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Context:
    """What the house hands to a generator.

    ``device`` is a torch device name, ``weights_dir`` the folder of installed weights, ``resume`` the bytes
    of an earlier frame's checkpoint or None.
    """

    device: str
    weights_dir: Path
    resume: bytes | None = None


class GenerationError(Exception):
    """A job cannot be drawn, for a reason told in one sentence; trying again would not help."""


class Generate(Protocol):
    """Closing the iterator stops the work and frees what it holds."""

    def __call__(self, spec: GenerationSpec, context: Context) -> Iterator[Frame]: ...
