"""The parameters of VQGAN latent optimisation steered by CLIP."""

from enum import StrEnum
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from generators.contract import ImageRef
from generators.guided_spec import GuidedSpec

START = "Start"
CAMERA = "Camera"
SECOND_PASS = "Second pass"
GRID = 16
"""Sides are multiples of it, in pixels: the VQGANs' largest downsampling."""


class Aspect(StrEnum):
    FREE = "free"
    SQUARE = "1:1"
    LANDSCAPE = "4:3"
    PHOTO = "3:2"
    WIDE = "16:9"
    PORTRAIT = "3:4"
    TALL = "2:3"
    PHONE = "9:16"


class Start(StrEnum):
    PRIOR = "prior"
    NOISE = "noise"
    PIXELS = "pixels"
    GRADIENT = "gradient"


START_IMAGE_GIVEN = {"required": ["start_image"], "properties": {"start_image": {"type": "string"}}}
NOTHING_TO_KEEP = {"properties": {"mask": {"type": "null"}, "keep_close": {"const": 0}}}


class VqganClipSpec(GuidedSpec):
    """Defaults are the sandbox weights'; the catalogue's entry of a set of weights may give others."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [START_IMAGE_GIVEN, NOTHING_TO_KEEP]})

    width: int = Field(
        default=128,
        ge=64,
        le=1024,
        multiple_of=GRID,
        title="Width",
        description="Width of the picture. Memory and time grow with the area.",
        json_schema_extra={"unit": "pixels"},
    )
    height: int = Field(
        default=128,
        ge=64,
        le=1024,
        multiple_of=GRID,
        title="Height",
        description="Height of the picture.",
        json_schema_extra={"unit": "pixels", "derived_unless": {"aspect": "free"}},
    )
    aspect: Aspect = Field(
        default=Aspect.FREE,
        title="Aspect ratio",
        description="Width to height: sets the height by the width. free: as width and height say.",
    )
    init: Start = Field(
        default=Start.PRIOR,
        title="Start",
        description="prior: begin with a scene that the prior imagines for the prompt. noise: with random "
        "codes. pixels: with coloured noise. gradient: with a random gradient.",
    )
    candidates: int = Field(
        default=8,
        ge=1,
        le=64,
        title="Candidates",
        description="How many starts the prior imagines; the one that fits the prompt best is refined.",
        json_schema_extra={"group": START},
    )
    start_image: ImageRef | None = Field(
        default=None,
        title="Start image",
        description="Begin with this picture instead.",
        json_schema_extra={"group": START, "image": True},
    )
    start_afresh: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Imagined afresh",
        description="How much of the start image is imagined afresh for the prompt, or else noised: 0 begins "
        "with the picture as it is.",
        json_schema_extra={"group": START},
    )
    mask: ImageRef | None = Field(
        default=None,
        title="Mask",
        description="Paint where the start image may change; elsewhere it stays as it is.",
        json_schema_extra={"group": START, "image": True, "mask": True},
    )
    keep_close: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        title="Keep close",
        description="How much leaving the start image costs.",
        json_schema_extra={"group": START},
    )
    keep_close_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Keep close: decay",
        description="By which share that cost has fallen at the last step.",
        json_schema_extra={"group": START},
    )
    settling: float = Field(
        default=0.4,
        ge=0,
        lt=1,
        title="Settling",
        description="How much of the guided picture the prior then imagines afresh: it washes out stains. "
        "0 leaves the picture as guidance made it.",
        json_schema_extra={"group": "Guidance"},
    )
    zoom: float = Field(
        default=1.0,
        ge=0.5,
        le=2,
        title="Zoom",
        description="How much larger the picture gets at each move of the camera.",
        json_schema_extra={"group": CAMERA},
    )
    pan_x: float = Field(
        default=0.0,
        ge=-0.5,
        le=0.5,
        title="Pan right",
        description="By which share of its width the picture moves at each move of the camera.",
        json_schema_extra={"group": CAMERA},
    )
    pan_y: float = Field(
        default=0.0,
        ge=-0.5,
        le=0.5,
        title="Pan down",
        description="By which share of its height the picture moves at each move of the camera.",
        json_schema_extra={"group": CAMERA},
    )
    turn: float = Field(
        default=0.0,
        ge=-180,
        le=180,
        title="Turn",
        description="How far the picture turns clockwise at each move of the camera.",
        json_schema_extra={"unit": "degrees", "group": CAMERA},
    )
    camera_every: int = Field(
        default=5,
        ge=1,
        le=1000,
        title="Camera moves every",
        description="How many steps of guidance the picture gets between two moves of the camera.",
        json_schema_extra={"unit": "steps", "group": CAMERA},
    )
    enlarge: float = Field(
        default=1.0,
        ge=1,
        le=4,
        title="Enlarge",
        description="Then draws the finished picture again so many times larger, starting from it. "
        "1 makes no second pass.",
        json_schema_extra={"group": SECOND_PASS},
    )
    enlarge_steps: int = Field(
        default=20,
        ge=1,
        le=2000,
        title="Steps of the second pass",
        description="How often guidance moves the enlarged picture.",
        json_schema_extra={"group": SECOND_PASS},
    )

    @model_validator(mode="before")
    @classmethod
    def _by_aspect(cls, given: Any) -> Any:
        """The height that the aspect ratio asks for, to the next multiple of the grid."""
        aspect = given.get("aspect") if isinstance(given, dict) else None
        if not isinstance(aspect, str) or aspect not in set(Aspect) - {Aspect.FREE}:
            return given
        across, down = map(int, str(Aspect(aspect)).split(":"))
        try:
            width = float(given.get("width", cls.model_fields["width"].default))
            height = max(1, int(width * down / across / GRID + 0.5)) * GRID
        except (TypeError, ValueError, OverflowError):  # the width's own check says what is wrong with it
            return given
        return {**given, "height": height}

    @model_validator(mode="after")
    def _image_for_mask(self) -> Self:
        if self.start_image is None and (self.mask or self.keep_close):
            raise ValueError("A mask, or a cost of leaving it, needs a start image: choose one.")
        return self

    @property
    def moves(self) -> bool:
        """Whether the camera moves at all."""
        return (self.zoom, self.pan_x, self.pan_y, self.turn) != (1, 0, 0, 0)
