"""The generators by name: data that costs no heavy import."""

import importlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from generators.biggan_clip_spec import BigGANClipSpec
from generators.contract import Generate, GenerationSpec
from generators.memory import memory_need as needed
from generators.vqgan_clip_spec import VqganClipSpec
from settings import ROOT, Settings
from weights import catalogue
from weights.files import is_installed

DEFAULT_WEIGHTS = ROOT / Settings.weights_dir


@dataclass(frozen=True)
class GeneratorEntry:
    """A way of generating: ``name`` is stored with jobs, ``module`` holds its ``generate``.

    ``weights_dir`` is the folder in which sets of weights are installed.
    """

    name: str
    title: str
    summary: str
    spec: type[GenerationSpec]
    module: str
    weights_dir: Path = DEFAULT_WEIGHTS

    @property
    def weights(self) -> tuple[catalogue.WeightsEntry, ...]:
        """The installed sets of weights that this generator can use, the preferred one first."""
        return tuple(w for w in self.known_weights if is_installed(w, self.weights_dir))

    @property
    def known_weights(self) -> tuple[catalogue.WeightsEntry, ...]:
        """The sets of weights that this generator can use, installed or not."""
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
        GeneratorEntry(
            name="biggan_clip",
            title="BigGAN + CLIP",
            summary="Draws many random pictures, then moves the noise of the best until it fits the prompt.",
            spec=BigGANClipSpec,
            module="generators.biggan_clip",
        ),
    )
}


class SpecError(ValueError):
    """What a person asked for cannot be done; the text says what is wrong and what to do."""


def generators(weights_dir: Path) -> dict[str, GeneratorEntry]:
    """The generators by name, with the weights that are installed in ``weights_dir``."""
    return {name: replace(entry, weights_dir=weights_dir) for name, entry in GENERATORS.items()}


def entry(name: str) -> GeneratorEntry:
    """Look a generator up. Raises SpecError for an unknown name."""
    if name not in GENERATORS:
        raise SpecError(f"There is no generator '{name}'; choose one of {', '.join(GENERATORS)}.")
    return GENERATORS[name]


def parse_spec(
    generator: str, parameters: Mapping[str, Any], weights_dir: Path = DEFAULT_WEIGHTS
) -> GenerationSpec:
    """Check ``parameters``, filling gaps with the chosen weights' defaults, then the spec's.

    A missing seed is drawn here, once, so that the stored job says what makes the picture again.

    Raises:
        SpecError: one sentence a problem: unknown generator, weights or parameter, weights that are not
            installed in ``weights_dir``, value out of bounds.
    """
    chosen = replace(entry(generator), weights_dir=weights_dir)
    given = {name: value for name, value in parameters.items() if value is not None}
    given.setdefault("seed", secrets.randbelow(2**32))
    weights = _choose_weights(chosen, given.get("weights"))
    try:
        return chosen.spec.model_validate({**weights.defaults, **given, "weights": weights.name})
    except ValidationError as error:
        raise SpecError(" ".join(_sentence(chosen.spec, problem) for problem in error.errors())) from error


def memory_need(generator: str, parameters: Mapping[str, Any], weights_dir: Path) -> int | None:
    """About how many bytes drawing takes, whatever the prompt; None for parameters that cannot be drawn."""
    try:
        spec = parse_spec(generator, {**parameters, "prompt": "-"}, weights_dir)
    except SpecError:
        return None
    return needed(spec, catalogue.entry(spec.weights))


def least_memory(spec: GenerationSpec) -> int:
    """About how many bytes drawing takes at least, with one cutout looked at after the other."""
    return needed(spec, catalogue.entry(spec.weights), cutouts=1)


def load(generator: str) -> Generate:
    """Import the generator's code, torch and all."""
    return cast(Generate, importlib.import_module(entry(generator).module).generate)


def _choose_weights(generator: GeneratorEntry, name: Any) -> catalogue.WeightsEntry:
    """The set called ``name``, or the preferred one."""
    usable = {weights.name: weights for weights in generator.weights}
    if not usable:
        raise SpecError(
            f"No weights for {generator.title} are installed: python -m weights list shows what there is."
        )
    if name is None:
        return generator.weights[0]
    if str(name) in usable:
        return usable[str(name)]
    if str(name) in {weights.name for weights in generator.known_weights}:
        raise SpecError(f"The weights '{name}' are not installed: run python -m weights download {name}.")
    raise SpecError(f"{generator.title} has no weights '{name}'; choose one of {', '.join(usable)}.")


def _sentence(spec: type[GenerationSpec], problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["ctx"]["error"])
    name = str(problem["loc"][0])
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
