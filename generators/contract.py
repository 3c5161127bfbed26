"""What a generator is: ``generate(spec, context) -> Iterator[Frame]``, free of queue, database and disk."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from guidance.prompts import parse_prompt

MAX_PROMPT_LENGTH = 500

ImageRef = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The SHA-256 of a picture that was handed in beside the spec; ``Context.images`` finds it."""


class GenerationSpec(BaseModel):
    """What a person may ask of any generator; each generator's spec adds its own parameters.

    Every field carries a title, a help text (``description``), bounds and a default: the page's form,
    the command line's flags and the API's schema are derived from it. ``json_schema_extra`` may say
    ``{"unit": ..., "group": ..., "image": True}``: fields of a group are shown together, folded away; an
    ``ImageRef`` is an image, or with ``"mask": True`` what a person paints on one. A field with
    ``{"derived_unless": {other: value}}`` follows from the others unless that other one has that value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_LENGTH,
        title="Prompt",
        description="What the picture should show. Parts may have weights, negative ones keep things out: "
        "a forest | oil painting:0.5 | people:-0.3. A ^ begins the next chapter of a story.",
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

    @field_validator("prompt")
    @classmethod
    def _well_formed(cls, prompt: str) -> str:
        parse_prompt(prompt)
        return prompt


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


def no_images(reference: str) -> np.ndarray:
    """Where none were handed in."""
    raise LookupError(reference)


@dataclass(frozen=True)
class Context:
    """What the house hands to a generator.

    ``device`` is a torch device name, ``weights_dir`` the folder of installed weights, ``resume`` the bytes
    of an earlier frame's checkpoint or None. ``images`` gives the picture of an ``ImageRef``, (height, width,
    3) uint8, or raises LookupError. ``memory`` is how many bytes drawing may take, None for all there are.
    """

    device: str
    weights_dir: Path
    resume: bytes | None = None
    images: Callable[[str], np.ndarray] = no_images
    memory: int | None = None


class GenerationError(Exception):
    """A job cannot be drawn, for a reason told in one sentence; trying again would not help."""


class Generate(Protocol):
    """Closing the iterator stops the work and frees what it holds."""

    def __call__(self, spec: GenerationSpec, context: Context) -> Iterator[Frame]: ...
