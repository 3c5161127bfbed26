"""Presets as the pages and the API use them: those that a set of weights brings, and people's own."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from jobs.presets import Preset
from web.studio import Generator, Studio, Weights

NOT_OF_PRESETS = frozenset({"prompt", "seed", "weights"})
_ANY_PROMPT = {"prompt": "anything"}


def available(house: Studio, person: str, generator: Generator, weights: Weights) -> list[Preset]:
    """Presets for the weights, the built-in ones first."""
    built_in = [
        Preset(name, generator.name, weights.name, brought) for name, brought in weights.presets.items()
    ]
    chosen = (generator.name, weights.name)
    return built_in + [own for own in house.presets.of(person) if (own.generator, own.weights) == chosen]


def save(house: Studio, person: str, preset: Preset) -> Preset:
    """Keep a preset, gaps in it filled and prompt and seed left out.

    Raises:
        Refused: the parameters cannot be drawn.
        PresetRefused: the name cannot be used, or there are too many presets.
    """
    return house.presets.save(person, replace(preset, parameters=filling(house, preset)))


def filling(house: Studio, preset: Preset) -> dict[str, Any]:
    """How the preset draws a picture: its parameters, defaults where it leaves some open. Raises Refused."""
    asked = {**preset.parameters, **_ANY_PROMPT, "weights": preset.weights}
    spec = house.checked(preset.generator, asked)
    return {
        name: value
        for name, value in spec.model_dump(mode="json").items()
        if name not in NOT_OF_PRESETS and (value or not _is_picture(spec, name))
    }


def _is_picture(spec: BaseModel, name: str) -> bool:
    extra = type(spec).model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("image"))
