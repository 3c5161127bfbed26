"""Pictures that people hand in, named by their contents: ``uploads/<SHA-256>.png`` in the artifact store."""

import hashlib
import io
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs import pictures
from store import UPLOADS, ArtifactNotFound, ArtifactStore

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
LONGEST_SIDE = 2048
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

TOO_MANY_BYTES = f"The picture has more than {MAX_BYTES // 10**6} MB: hand in a smaller one."
TOO_MANY_PIXELS = f"The picture has more than {MAX_PIXELS // 10**6} million pixels: hand in a smaller one."
NO_PICTURE = "This is no picture that can be read: hand in a whole PNG, JPEG, WebP or GIF file."

REFERENCE = re.compile(r"[0-9a-f]{64}")
"""What a picture that was handed in is known by."""

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")

_ROOM = threading.Lock()
"""Only one picture is decoded at a time, whoever hands it in: a large one takes half a gigabyte."""


class UploadError(ValueError):
    """The file cannot be used as a picture; the text says why and what to do."""


class UploadNotFound(LookupError):
    """No such picture was handed in."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"There is no uploaded picture {reference[:64]}: hand it in first.")


@dataclass(frozen=True)
class Upload:
    """A picture that was handed in; ``reference`` is the SHA-256 of the PNG that is kept."""

    reference: str
    width: int
    height: int


class Uploads:
    """The pictures in ``store``; the same picture is kept once."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def add(self, data: bytes, *, mask: bool = False) -> Upload:
        """Keep the picture in a PNG, JPEG, WebP or GIF file, upright and at most ``LONGEST_SIDE`` long.

        What is transparent becomes white. A ``mask`` becomes black and white: white where it is light.

        Raises:
            UploadError: it is no such file, damaged, or too large.
            StoreError: the disk is full, or the store cannot be written.
        """
        image = _read_mask(data) if mask else _read_picture(data)
        png = pictures.png(np.asarray(image))
        reference = hashlib.sha256(png).hexdigest()
        self._store.put(_name(reference), png)  # again, so that a sweep takes it for new
        return Upload(reference, *image.size)

    def has(self, reference: str) -> bool:
        """Whether that picture was handed in. Raises StoreError."""
        return _is_reference(reference) and self._store.exists(_name(reference))

    def name_of(self, reference: str) -> str:
        """The artifact name of a picture that was handed in. Raises UploadNotFound, StoreError."""
        if not self.has(reference):
            raise UploadNotFound(reference)
        return _name(reference)

    def read(self, reference: str) -> bytes:
        """The picture as PNG. Raises UploadNotFound, StoreError."""
        if not _is_reference(reference):
            raise UploadNotFound(reference)
        try:
            return self._store.read(_name(reference))
        except ArtifactNotFound as error:
            raise UploadNotFound(reference) from error

    def pixels(self, reference: str) -> np.ndarray:
        """The picture as (height, width, 3) uint8. Raises UploadNotFound, StoreError."""
        return pictures.pixels(self.read(reference))

    def require(self, spec: BaseModel) -> None:
        """Raise UploadNotFound unless every picture that ``spec`` refers to was handed in.

        They are kept again, so that a sweep takes them for new until their job is in the queue.
        """
        for reference in references(spec):
            self._store.put(_name(reference), self.read(reference))


def references(spec: BaseModel) -> Iterable[str]:
    """The pictures in those fields of a spec that are marked as images."""
    for name, field in type(spec).model_fields.items():
        if is_picture(field):
            value = getattr(spec, name)
            yield from (value,) if isinstance(value, str) else value or ()


def is_picture(field: FieldInfo) -> bool:
    """Whether a field of a spec is marked as an image."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("image"))


def _is_reference(text: str) -> bool:
    return REFERENCE.fullmatch(text) is not None


def _name(reference: str) -> str:
    return f"{UPLOADS}/{reference}.png"


def _read_picture(data: bytes) -> Image.Image:
    """RGB, transparency on white."""
    return _on("white", _decode(data)).convert("RGB")


def _read_mask(data: bytes) -> Image.Image:
    """RGB of black and white only, transparency on black."""
    grey = _on("black", _decode(data)).convert("L")
    return grey.point(lambda value: 255 if value > 127 else 0).convert("RGB")


def _on(ground: str, image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image)


def _decode(data: bytes) -> Image.Image:
    """The first image of a file as RGBA, upright and not too long; its size is checked before its pixels."""
    if len(data) > MAX_BYTES:
        raise UploadError(TOO_MANY_BYTES)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image)
        with _ROOM:
            return _upright(image)
    except UploadError:
        raise
    except Image.DecompressionBombError as error:
        raise UploadError(TOO_MANY_PIXELS) from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        raise UploadError(NO_PICTURE) from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UploadError(TOO_MANY_PIXELS)


def _upright(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    ImageOps.exif_transpose(image, in_place=True)
    upright = image.convert("RGBA")
    upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return upright
