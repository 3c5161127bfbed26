"""Images as files: deterministic, and with the recipe of the picture inside."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import imageio.v3 as imageio
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_FRAME_MILLISECONDS = 100
_LAST_FRAME_MILLISECONDS = 1500
_JPEG_QUALITY = 88
_COLOURS = 256


def png(image: np.ndarray, recipe: Mapping[str, Any] | None = None) -> bytes:
    """A (height, width, 3) uint8 image without loss; ``recipe`` goes into the text chunk ``recipe``."""
    text = PngInfo()
    if recipe is not None:
        text.add_text("recipe", _json(recipe))
    return bytes(imageio.imwrite("<bytes>", image, extension=".png", pnginfo=text))


def jpeg(image: np.ndarray) -> bytes:
    """A (height, width, 3) uint8 image, small and quickly made."""
    return bytes(imageio.imwrite("<bytes>", image, extension=".jpg", quality=_JPEG_QUALITY))


def pixels(data: bytes) -> np.ndarray:
    """The (height, width, 3) uint8 image in a file."""
    return imageio.imread(data, mode="RGB")


def gif(images: Sequence[np.ndarray], recipe: Mapping[str, Any]) -> bytes:
    """An endless animation of (height, width, 3) uint8 images, resting on the last.

    Every frame has 256 colours of its own, dithered; ``recipe`` is the file's comment.
    """
    first, *others = [_with_palette(Image.fromarray(image)) for image in images]
    file = io.BytesIO()
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[_FRAME_MILLISECONDS] * len(others) + [_LAST_FRAME_MILLISECONDS],
        loop=0,
        comment=_json(recipe).encode(),
    )
    return file.getvalue()


def _with_palette(image: Image.Image) -> Image.Image:
    """The octree's palette is found fifty times faster than the median cut's; dithering makes up for it."""
    palette = image.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _json(recipe: Mapping[str, Any]) -> str:
    return json.dumps(recipe, sort_keys=True)
