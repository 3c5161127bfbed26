"""Presets as the pages and the API use them: those that a set of weights brings, and people's own."""

from dataclasses import replace
from typing import Any

from jobs.presets import Preset, manner_of
from web.studio import Generator, Studio, Weights


def available(house: Studio, person: str, generator: Generator, weights: Weights) -> list[Preset]:
    """Presets for the weights, the built-in ones first."""
    chosen = (generator.name, weights.name)
    built_in = [Preset(name, *chosen, parameters) for name, parameters in weights.presets.items()]
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
    asked = {**preset.parameters, "prompt": "anything", "weights": preset.weights}
    return manner_of(house.checked(preset.generator, asked))
