"""The sets of weights by name: data read from ``catalogue.yaml``, no torch."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, Field

CATALOGUE = Path(__file__).with_name("catalogue.yaml")


class WeightsFile(BaseModel):
    """One file of a set; ``path`` is relative to the folder of weights, ``sha256`` in hexadecimal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    size: int
    sha256: str


class WeightsEntry(BaseModel):
    """A set of weights: what it is, what it can draw, prompts to try, the spec's defaults that suit it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    draws: str
    licence: str
    generators: tuple[str, ...]
    networks: Mapping[str, str]
    files: tuple[WeightsFile, ...] = ()
    defaults: Mapping[str, Any] = Field(default_factory=dict)
    vocabulary: str | None = None
    examples: tuple[str, ...] = ()


@cache
def entries() -> tuple[WeightsEntry, ...]:
    """All sets of weights, the preferred one first."""
    data = OmegaConf.to_container(OmegaConf.load(CATALOGUE))
    assert isinstance(data, list)
    return tuple(WeightsEntry.model_validate(item) for item in data)


def unknown_words(entry: WeightsEntry, prompt: str, weights_dir: Path) -> tuple[str, ...]:
    """Words of ``prompt`` that the set has never been shown; empty where it knows any or is not installed."""
    if entry.vocabulary is None or not (weights_dir / entry.vocabulary).is_file():
        return ()
    known = _words(weights_dir / entry.vocabulary)
    spoken = "".join(c if c.isalnum() else " " for c in prompt.lower()).split()
    return tuple(dict.fromkeys(word for word in spoken if word not in known))


@cache
def _words(path: Path) -> frozenset[str]:
    return frozenset(json.loads(path.read_text()))
