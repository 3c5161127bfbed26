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
        description="How many random pictures are drawn first; those that fit the prompt best go on.",
        json_schema_extra={"group": START},
    )
    contestants: int = Field(
        default=24,
        ge=0,
        le=256,
        title="Contestants",
        description="How many of the best are led towards the prompt side by side, ever fewer, before "
        "the winner is refined; 0 refines the best at once.",
        json_schema_extra={"group": START},
    )
    reach: float = Field(
        default=2.0,
        ge=0.5,
        le=8,
        title="Reach",
        description="How far each number of the noise may be led from its middle, in deviations, times the "
        "truncation. 2 is as far as random draws go.",
        json_schema_extra={"group": GUIDANCE},
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
