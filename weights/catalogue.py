"""The sets of weights by name: data read from ``catalogue.yaml``, no torch."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, Field

from weights.errors import WeightsError

CATALOGUE = Path(__file__).with_name("catalogue.yaml")

Address = Annotated[str, Field(pattern=r"^https?://")]


class WeightsFile(BaseModel):
    """One file of a set; ``path`` is relative to the folder of weights, ``sha256`` in hexadecimal.

    Where its author publishes no SHA-256, that of the first one installed counts (``weights.files``). Where
    the exact ``size`` is unknown too, ``rough_size`` may say about how much is to come. ``sources`` all hold
    the same file and are tried in turn; a file without any ships with the project.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    size: int | None = None
    sha256: str | None = None
    rough_size: int | None = None
    sources: tuple[Address, ...] = ()

    @property
    def space(self) -> int:
        """Bytes that it takes on the disk, as far as they are known beforehand."""
        return self.size or self.rough_size or 0


class MemoryNeed(BaseModel):
    """What drawing takes, in GB (10^9 bytes), as measured by ``benchmarks/memory.py``.

    ``networks`` is what it takes anyway, ``megapixel`` what each million pixels of the picture adds,
    ``cutout`` what each cutout adds that is looked at together with others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    networks: float = 0
    megapixel: float = 0
    cutout: float = 0


class WeightsEntry(BaseModel):
    """A set of weights: what it is, what it can draw, prompts to try, the spec's defaults that suit it.

    ``memory_gb`` is about what drawing at the default size needs. A set without ``generators`` is no use
    alone. ``parts`` name sets whose own networks and files belong to this one too; ``entries`` adds them.
    ``presets`` are parameters, which win over ``defaults``, by a name that says what they are for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    draws: str
    licence: str
    memory_gb: float = 0
    memory: MemoryNeed = MemoryNeed()
    generators: tuple[str, ...]
    networks: Mapping[str, str]
    parts: tuple[str, ...] = ()
    files: tuple[WeightsFile, ...] = ()
    defaults: Mapping[str, Any] = Field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    vocabulary: str | None = None
    examples: tuple[str, ...] = ()

    @property
    def space(self) -> int:
        """Bytes that its files take on the disk, as far as they are known beforehand."""
        return sum(file.space for file in self.files)

    @property
    def ships(self) -> bool:
        """Whether it came with the project: it can be neither downloaded nor removed."""
        return not all(file.sources for file in self.files)


@cache
def entries() -> tuple[WeightsEntry, ...]:
    """All sets of weights with what their parts bring, the preferred one first."""
    data = OmegaConf.to_container(OmegaConf.load(CATALOGUE))
    assert isinstance(data, list)
    own = {entry.name: entry for entry in map(WeightsEntry.model_validate, data)}
    return tuple(_with_parts(entry, own) for entry in own.values())


def entry(name: str) -> WeightsEntry:
    """Look a set up. Raises WeightsError for an unknown name."""
    return find(name, entries())


def find(name: str, among: Sequence[WeightsEntry]) -> WeightsEntry:
    """The set called ``name``. Raises WeightsError where there is none."""
    for one in among:
        if one.name == name:
            return one
    raise WeightsError(f"There are no weights '{name}'; choose one of {', '.join(e.name for e in among)}.")


def unknown_words(entry: WeightsEntry, prompt: str, weights_dir: Path) -> tuple[str, ...]:
    """Words of ``prompt`` that the set has never been shown; empty where it knows any or is not installed."""
    if entry.vocabulary is None or not (weights_dir / entry.vocabulary).is_file():
        return ()
    known = _words(weights_dir / entry.vocabulary)
    spoken = "".join(c if c.isalnum() else " " for c in prompt.lower()).split()
    return tuple(dict.fromkeys(word for word in spoken if word not in known))


def _with_parts(entry: WeightsEntry, own: Mapping[str, WeightsEntry]) -> WeightsEntry:
    parts = [entry, *(own[name] for name in entry.parts)]
    networks = {network: path for part in parts for network, path in part.networks.items()}
    files = tuple(file for part in parts for file in part.files)
    return entry.model_copy(update={"networks": networks, "files": files})


@cache
def _words(path: Path) -> frozenset[str]:
    return frozenset(json.loads(path.read_text()))
