"""How much memory a job needs, and how it is made to fit. No torch here.

The need of a set of weights is measured (``python -m benchmarks.memory``) and kept in the catalogue: what its
networks take, what a megapixel of the picture adds, what each cutout adds that is looked at together with
others.
"""

from generators.contract import GenerationError, GenerationSpec
from weights.catalogue import WeightsEntry

GIGA = 10**9


def pixels_of(spec: GenerationSpec) -> int:
    """Pixels of the largest picture that ``spec`` asks for; 0 where the network decides."""
    width, height, enlarge = (getattr(spec, name, given) for name, given in SIZES.items())
    return round(width * height * enlarge**2)


SIZES = {"width": 0, "height": 0, "enlarge": 1}


def memory_need(spec: GenerationSpec, weights: WeightsEntry, cutouts: int | None = None) -> int:
    """Bytes that drawing ``spec`` takes, with all its cutouts looked at together or only so many."""
    together = getattr(spec, "cutouts", 0) if cutouts is None else cutouts
    area = pixels_of(spec) / 1e6
    return round(
        GIGA * (weights.memory.networks + weights.memory.megapixel * area + weights.memory.cutout * together)
    )


def cutouts_together(spec: GenerationSpec, weights: WeightsEntry, memory: int | None) -> int:
    """How many of the cutouts fit, beside the networks, into so many bytes; None for all there are.

    Raises:
        GenerationError: not even one; says which size would fit.
    """
    if memory is None:
        return int(getattr(spec, "cutouts", 0))
    left = memory - memory_need(spec, weights, cutouts=0)
    per_cutout = max(1.0, GIGA * weights.memory.cutout)
    if left < per_cutout:
        raise GenerationError(_too_large(spec, weights, memory))
    return max(1, min(int(getattr(spec, "cutouts", 0)), int(left / per_cutout)))


def _too_large(spec: GenerationSpec, weights: WeightsEntry, memory: int) -> str:
    """What is wrong, and the nearest smaller size of the same shape."""
    need = memory_need(spec, weights, cutouts=1) / GIGA
    said = f"This picture needs about {need:.1f} GB of memory and there are {memory / GIGA:.1f} GB"
    pixels = (memory / GIGA - weights.memory.networks - weights.memory.cutout) / max(
        1e-9, weights.memory.megapixel
    )
    width, height, enlarge = (getattr(spec, name, given) for name, given in SIZES.items())
    if pixels * 1e6 < 64 * 64 or not width:
        return f"{said}: free some, or choose smaller weights."
    shrink = (pixels * 1e6 / (width * height * enlarge**2)) ** 0.5
    across, down = (max(64, int(side * shrink) // 16 * 16) for side in (width, height))
    return f"{said}: choose at most {across} by {down} pixels{' in all' if enlarge > 1 else ''}."
