"""The generators by name: data that costs no heavy import."""

import importlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from generators.contract import Generate, GenerationSpec
from generators.vqgan_clip_spec import VqganClipSpec
from weights import catalogue


@dataclass(frozen=True)
class GeneratorEntry:
    """A way of generating: ``name`` is stored with jobs, ``module`` holds its ``generate``."""

    name: str
    title: str
    summary: str
    spec: type[GenerationSpec]
    module: str

    @property
    def weights(self) -> tuple[catalogue.WeightsEntry, ...]:
        """The sets of weights that this generator can use, the preferred one first."""
        return tuple(w for w in catalogue.entries() if self.name in w.generators)


GENERATORS: dict[str, GeneratorEntry] = {
    entry.name: entry
    for entry in (
        GeneratorEntry(
            name="vqgan_clip",
            title="VQGAN + CLIP",
            summary="Moves the latent of a VQGAN until CLIP finds the prompt in the picture.",
            spec=VqganClipSpec,
            module="generators.vqgan_clip",
        ),
    )
}


class SpecError(ValueError):
    """What a person asked for cannot be done; the text says what is wrong and what to do."""


def entry(name: str) -> GeneratorEntry:
    """Look a generator up. Raises SpecError for an unknown name."""
    if name not in GENERATORS:
        raise SpecError(f"There is no generator '{name}'; choose one of {', '.join(GENERATORS)}.")
    return GENERATORS[name]


def parse_spec(generator: str, parameters: Mapping[str, Any]) -> GenerationSpec:
    """Check ``parameters``, filling gaps with the chosen weights' defaults, then the spec's.

    A missing seed is drawn here, once, so that the stored job says what makes the picture again.

    Raises:
        SpecError: one sentence a problem: unknown generator, weights or parameter, value out of bounds.
    """
    chosen = entry(generator)
    given = {name: value for name, value in parameters.items() if value is not None}
    given.setdefault("seed", secrets.randbelow(2**32))
    weights = str(given.setdefault("weights", chosen.weights[0].name))
    usable = {w.name: w for w in chosen.weights}
    if weights not in usable:
        raise SpecError(f"{chosen.title} has no weights '{weights}'; choose one of {', '.join(usable)}.")
    try:
        return chosen.spec.model_validate({**usable[weights].defaults, **given})
    except ValidationError as error:
        raise SpecError(" ".join(_sentence(chosen.spec, problem) for problem in error.errors())) from error


def load(generator: str) -> Generate:
    """Import the generator's code, torch and all."""
    return cast(Generate, importlib.import_module(entry(generator).module).generate)


def _sentence(spec: type[GenerationSpec], problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "value"
    if problem["type"] == "extra_forbidden":
        return f"There is no parameter '{name}'; choose among {', '.join(spec.model_fields)}."
    if problem["type"] == "missing":
        return f"'{name}' is missing."
    if name == "prompt" and problem["type"] == "string_too_short":
        return "The prompt is empty: type what the picture should show."
    message = str(problem["msg"])
    return f"'{name}': {message[0].lower()}{message[1:]}, but it was {_shown(problem['input'])}."


def _shown(value: Any) -> str:
    if isinstance(value, str) and len(value) > 60:
        return f"{len(value)} characters long"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
