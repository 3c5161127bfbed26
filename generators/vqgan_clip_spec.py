"""The parameters of VQGAN latent optimisation steered by CLIP."""

from enum import StrEnum

from pydantic import Field

from generators.contract import GenerationSpec


class Start(StrEnum):
    NOISE = "noise"
    PRIOR = "prior"


class VqganClipSpec(GenerationSpec):
    """Defaults are the sandbox weights'; the catalogue's entry of a set of weights may give others."""

    width: int = Field(
        default=128,
        ge=64,
        le=1024,
        multiple_of=16,
        title="Width",
        description="Width of the picture. Memory and time grow with the area.",
        json_schema_extra={"unit": "pixels"},
    )
    height: int = Field(
        default=128,
        ge=64,
        le=1024,
        multiple_of=16,
        title="Height",
        description="Height of the picture.",
        json_schema_extra={"unit": "pixels"},
    )
    steps: int = Field(
        default=30,
        ge=0,
        le=2000,
        title="Steps",
        description="How often guidance moves the picture towards the prompt. 0 shows the start alone.",
    )
    init: Start = Field(
        default=Start.PRIOR,
        title="Start",
        description="prior: begin with a scene that the prior imagines for the prompt. "
        "noise: begin with random codes.",
    )
    candidates: int = Field(
        default=8,
        ge=1,
        le=64,
        title="Candidates",
        description="How many starts the prior imagines; the one that fits the prompt best is refined.",
        json_schema_extra={"advanced": True},
    )
    cutouts: int = Field(
        default=16,
        ge=1,
        le=256,
        title="Cutouts",
        description="How many random views of the picture are compared with the prompt at each step. "
        "More is steadier and slower.",
        json_schema_extra={"advanced": True},
    )
    learning_rate: float = Field(
        default=0.05,
        gt=0,
        le=1,
        title="Learning rate",
        description="How far one step moves the latent.",
        json_schema_extra={"advanced": True},
    )
    settling: float = Field(
        default=0.4,
        ge=0,
        lt=1,
        title="Settling",
        description="How much of the guided picture the prior then imagines afresh: it washes out stains. "
        "0 leaves the picture as guidance made it.",
        json_schema_extra={"advanced": True},
    )
