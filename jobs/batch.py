"""Several pictures at once: the same parameters with one seed after the other."""

from collections.abc import Mapping
from typing import Any

MAX_PICTURES = 16
SEEDS = 2**32


def of_seeds(parameters: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """``count`` copies of ``parameters``: its seed, the next one and so on; after the largest comes 0."""
    return [{**parameters, "seed": (parameters["seed"] + number) % SEEDS} for number in range(count)]
