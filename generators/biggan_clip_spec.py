"""The parameters of BigGAN noise and classes steered by CLIP."""

from pydantic import Field

from generators.guided_spec import GUIDANCE, GuidedSpec

START = "Start"


class BigGANClipSpec(GuidedSpec):
    """Defaults are the sandbox weights'; the catalogue's entry of a set of weights may give others."""

    truncation: float = Field(
        default=1.0,
        gt=0.1,
        le=1,
        title="Truncation",
        description="How far the noise may go from its middle: less draws clearer, more ordinary pictures.",
    )
    classes: int = Field(
        default=1,
        ge=1,
        le=20,
        title="Classes",
        description="At most so many kinds of things are mixed in a picture.",
    )
    candidates: int = Field(
        default=256,
        ge=1,
        le=4096,
        title="Candidates",
        description="How many random pictures are drawn first; the one that fits the prompt best is refined.",
        json_schema_extra={"group": START},
    )
    each_layer: bool = Field(
        default=True,
        title="Noise for each layer",
        description="Every layer of the network gets noise and classes of its own, which fit the prompt more "
        "closely; else all share them.",
        json_schema_extra={"group": GUIDANCE},
    )
    class_rate: float = Field(
        default=1.0,
        ge=0,
        le=10,
        title="Rate of the classes",
        description="How fast the mixture of classes moves beside the noise; 0 leaves it as it started.",
        json_schema_extra={"group": GUIDANCE},
    )
