"""The parameters that all generators steered by CLIP share."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from generators.contract import GenerationSpec, ImageRef

GUIDANCE = "Guidance"
CUTOUTS = "Cutouts and augmentations"
SMOOTHNESS = "Smoothness"


class Optimiser(StrEnum):
    ADAM = "adam"
    ADAMW = "adamw"
    RADAM = "radam"
    RMSPROP = "rmsprop"


class Schedule(StrEnum):
    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


def strength(title: str, description: str, default: float = 0.0) -> Any:
    """An augmentation's strength from 0 (off) to 1."""
    return Field(
        default=default,
        ge=0,
        le=1,
        title=title,
        description=description,
        json_schema_extra={"group": CUTOUTS},
    )


class GuidedSpec(GenerationSpec):
    """Defaults are the sandbox weights'; the catalogue's entry of a set of weights may give others."""

    steps: int = Field(
        default=30,
        ge=0,
        le=2000,
        title="Steps",
        description="How often guidance moves the picture towards the prompt, in each chapter of it. "
        "0 shows the start alone.",
    )
    image_prompts: tuple[ImageRef, ...] = Field(
        default=(),
        max_length=4,
        title="Image prompts",
        description="Pictures that the result should resemble in what they show.",
        json_schema_extra={"group": GUIDANCE, "image": True},
    )
    image_prompt_weight: float = Field(
        default=0.5,
        ge=-10,
        le=10,
        title="Weight of the image prompts",
        description="How much each of them counts; a part of the prompt counts 1 where it says nothing else.",
        json_schema_extra={"group": GUIDANCE},
    )
    learning_rate: float = Field(
        default=0.05,
        gt=0,
        le=1,
        title="Learning rate",
        description="How far one step moves the latent.",
        json_schema_extra={"group": GUIDANCE},
    )
    schedule: Schedule = Field(
        default=Schedule.CONSTANT,
        title="Schedule",
        description="Whether the learning rate stays, or falls towards zero over each chapter's steps.",
        json_schema_extra={"group": GUIDANCE},
    )
    optimiser: Optimiser = Field(
        default=Optimiser.ADAM,
        title="Optimiser",
        description="The rule by which a step follows the gradient.",
        json_schema_extra={"group": GUIDANCE},
    )
    averaging: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        title="Averaging",
        description="Decay of a moving average over the latents of past steps: the picture shows the "
        "average. 0 shows each step as it is.",
        json_schema_extra={"group": GUIDANCE},
    )
    cutouts: int = Field(
        default=16,
        ge=1,
        le=256,
        title="Cutouts",
        description="How many random views of the picture are compared with the prompt at each step. "
        "More is steadier and slower.",
        json_schema_extra={"group": CUTOUTS},
    )
    cutout_power: float = Field(
        default=1.0,
        ge=0.1,
        le=10,
        title="Cutout power",
        description="Above 1 most cutouts are small, below 1 most show nearly the whole picture.",
        json_schema_extra={"group": CUTOUTS},
    )
    smallest_cutout: float = Field(
        default=0.75,
        ge=0.1,
        le=1,
        title="Smallest cutout",
        description="Side of the smallest cutout, as a share of the picture's shorter side.",
        json_schema_extra={"group": CUTOUTS},
    )
    noise: float = strength("Noise", "Grain on the cutouts.", default=0.05)
    rotation: float = strength("Rotation", "How far cutouts are turned; 1 is 90 degrees.", default=0.05)
    flip: float = strength("Flip", "How likely a cutout is mirrored; 1 is half of them.")
    perspective: float = strength("Perspective", "How far the corners of cutouts are moved.")
    colour_jitter: float = strength(
        "Colour jitter", "How far brightness, contrast, hue and saturation change."
    )
    erasing: float = strength("Erasing", "How likely a part of a cutout is painted over.")
    grayscale: float = strength("Grayscale", "How likely a cutout loses its colours.")
    total_variation: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        title="Total variation",
        description="How much differences between neighbouring pixels cost: more draws smoother areas.",
        json_schema_extra={"group": SMOOTHNESS},
    )
    saturation: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        title="Against saturation",
        description="How much garish colours cost.",
        json_schema_extra={"group": SMOOTHNESS},
    )
