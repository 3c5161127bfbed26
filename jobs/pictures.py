"""Images as files: deterministic, and with the recipe of the picture inside (``jobs.recipe`` reads it back).

Animations hold each frame for a tenth of a second and rest on the last. All their frames get the size of the
last one, or what of it fits into ``ANIMATION_SIDE`` pixels.
"""

import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ANIMATION_SIDE = 1024
_FRAME_MILLISECONDS = 100
_LAST_FRAME_MILLISECONDS = 1500
_JPEG_QUALITY = 88
_WEBP_QUALITY = 90
_COLOURS = 256
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="x-default">{text}</rdf:li>'
    "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
)
_BT709 = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
_H264 = (
    *("-crf", "16", "-preset", "medium", "-threads", "1", "-vf", f"scale=out_color_matrix=bt709,{_BT709}"),
    *("-map_metadata", "-1", "-flags", "+bitexact", "-fflags", "+bitexact", "-movflags", "+faststart"),
)
"""Plays everywhere and starts before it is loaded; the same frames give the same bytes."""


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


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the image in a file, without decoding it."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def fitted(images: Iterable[np.ndarray], last: tuple[int, int]) -> Iterator[np.ndarray]:
    """(height, width, 3) uint8 images in an animation's size; ``last`` is the last one's width and height."""
    shrink = min(1.0, ANIMATION_SIDE / max(last))
    target = round(last[0] * shrink), round(last[1] * shrink)
    for image in images:
        fits = (image.shape[1], image.shape[0]) == target
        yield image if fits else np.asarray(Image.fromarray(image).resize(target, Image.Resampling.LANCZOS))


def gif(images: Iterable[np.ndarray], recipe: Mapping[str, Any]) -> bytes:
    """An endless animation of (height, width, 3) uint8 images of one size.

    Every frame has 256 colours of its own, dithered; ``recipe`` is the file's comment.
    """
    frames = [_with_palette(Image.fromarray(image)) for image in images]
    return _animation(frames, "GIF", comment=_json(recipe).encode())


def webp(images: Iterable[np.ndarray], recipe: Mapping[str, Any]) -> bytes:
    """An endless animation of (height, width, 3) uint8 images of one size.

    ``recipe`` is the description in its XMP.
    """
    frames = [Image.fromarray(image) for image in images]
    xmp = _XMP.format(text=escape(_json(recipe)))
    return _animation(frames, "WEBP", quality=_WEBP_QUALITY, method=4, xmp=xmp.encode())


def mp4(images: Iterable[np.ndarray], recipe: Mapping[str, Any]) -> bytes:
    """An H.264 film of (height, width, 3) uint8 images of one size; ``recipe`` is its comment.

    An odd side gets its last row or column twice, for H.264 knows even sides only.
    """
    frames = _resting(map(_even, images))
    first = next(frames)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "animation.mp4"
        encoder = imageio_ffmpeg.write_frames(
            file,
            (first.shape[1], first.shape[0]),
            fps=1000 / _FRAME_MILLISECONDS,
            codec="libx264",
            quality=None,
            macro_block_size=1,
            output_params=[*_H264, "-metadata", f"comment={_json(recipe)}"],
        )
        encoder.send(None)
        for frame in chain([first], frames):
            encoder.send(np.ascontiguousarray(frame))
        encoder.close()
        return file.read_bytes()


def _animation(frames: list[Image.Image], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    frames[0].save(
        file,
        format=kind,
        save_all=True,
        append_images=frames[1:],
        duration=[_FRAME_MILLISECONDS] * (len(frames) - 1) + [_LAST_FRAME_MILLISECONDS],
        loop=0,
        **options,
    )
    return file.getvalue()


def _resting(images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    for image in images:
        yield image
    yield from repeat(image, _LAST_FRAME_MILLISECONDS // _FRAME_MILLISECONDS - 1)


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _with_palette(image: Image.Image) -> Image.Image:
    """The octree's palette is found fifty times faster than the median cut's; dithering makes up for it."""
    palette = image.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _json(recipe: Mapping[str, Any]) -> str:
    return json.dumps(recipe, sort_keys=True)
