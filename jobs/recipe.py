"""Reads the recipe back out of a file that a job left: PNG, GIF, WebP, MP4 or a zip of frames.

The file may come from anyone. Only the bytes around the recipe are read: no pixels are decoded, nothing is
unpacked beyond ``MAX_RECIPE_BYTES``, and no more than ``_MAX_PARTS`` parts of a file are looked at.
"""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from itertools import chain, islice
from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.archive import RECIPE

MAX_FILE_BYTES = 100 * 2**20
MAX_RECIPE_BYTES = 256 * 2**10
_MAX_PARTS = 10_000
_XMP_DESCRIPTION = re.compile(rb'<rdf:li xml:lang="x-default">([^<]*)</rdf:li>')


class NoRecipe(ValueError):
    """The file holds no recipe; the text says what to bring instead."""


class _Recipe(BaseModel):
    """What every recipe has, among other things."""

    model_config = ConfigDict(extra="allow")

    generator: str
    spec: dict[str, Any]


def recipe_in(data: bytes) -> Mapping[str, Any]:
    """The recipe in a file: ``generator`` (a name), ``spec`` (its parameters), and what else was noted.

    Raises:
        NoRecipe: the file is too large, of another kind, damaged, or holds none.
    """
    if len(data) > MAX_FILE_BYTES:
        raise NoRecipe(f"The file is over {MAX_FILE_BYTES // 2**20} MB: bring the picture itself, as PNG.")
    for is_kind, texts in _KINDS:
        if is_kind(data):
            return _first_recipe(texts(data))
    raise NoRecipe("This is no PNG, GIF, WebP, MP4 or zip of frames: bring a file that was saved here.")


def _first_recipe(texts: Iterator[bytes]) -> Mapping[str, Any]:
    try:
        for text in texts:
            if len(text) <= MAX_RECIPE_BYTES and (recipe := _parsed(text)) is not None:
                return recipe
    except _DAMAGED:
        pass  # the file is damaged: what follows cannot be read
    raise NoRecipe("There is no recipe in this file: bring one that was saved here, and not changed since.")


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        recipe = _Recipe.model_validate_json(text).model_dump()
        json.dumps(recipe, allow_nan=False)
    except ValueError:
        return None
    return recipe


def _in_png(data: bytes) -> Iterator[bytes]:
    at = 8
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        keyword, _, text = data[at + 8 : at + 8 + min(length, MAX_RECIPE_BYTES)].partition(b"\0")
        if kind == b"tEXt" and keyword == b"recipe":
            yield text
        elif kind == b"zTXt" and keyword == b"recipe":
            yield zlib.decompressobj().decompress(text[1:], MAX_RECIPE_BYTES)
        at += length + 12


def _in_gif(data: bytes) -> Iterator[bytes]:
    """The comments before the first image."""
    beginning = data[: 2 * MAX_RECIPE_BYTES]
    has_colours, colours = beginning[10] & 0x80, 2 << (beginning[10] & 7)
    at = 13 + (3 * colours if has_colours else 0)
    while beginning[at] == ord("!"):
        kind, content, at = beginning[at + 1], bytearray(), at + 2
        while length := beginning[at]:
            content += beginning[at + 1 : at + 1 + length]
            at += 1 + length
        at += 1
        if kind == 0xFE:
            yield bytes(content)


def _in_webp(data: bytes) -> Iterator[bytes]:
    at = 12
    for _ in range(_MAX_PARTS):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"XMP " and (found := _XMP_DESCRIPTION.search(data, at + 8, at + 8 + length)):
            yield unescape(found[1].decode()).encode()
        at += 8 + length + length % 2


def _in_mp4(data: bytes) -> Iterator[bytes]:
    """A comment is the text of moov/udta/meta/ilst/©cmt/data, behind 8 bytes that say that it is text."""
    places = [(0, len(data))]
    for name, head in ((b"moov", 0), (b"udta", 0), (b"meta", 4), (b"ilst", 0), (b"\xa9cmt", 0), (b"data", 8)):
        boxes = chain.from_iterable(_boxes(data, *place) for place in places)
        places = [(start + head, end) for kind, start, end in islice(boxes, _MAX_PARTS) if kind == name]
    for start, end in places:
        yield data[start : min(end, start + MAX_RECIPE_BYTES + 1)]


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning and end of the contents of the boxes of an MP4 between ``at`` and ``end``."""
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        elif length == 0:
            length = end - at
        if length < head or at + length > end:
            return
        yield kind, at + head, at + length
        at += length


def _in_zip(data: bytes) -> Iterator[bytes]:
    if data.count(b"PK\1\2") > _MAX_PARTS:  # so every member of the directory begins
        return
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        member = packed.getinfo(RECIPE)
        if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            with packed.open(member) as file:
                yield file.read(MAX_RECIPE_BYTES + 1)


_DAMAGED = (
    *(ValueError, LookupError, EOFError, OSError, OverflowError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)
_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Iterator[bytes]]], ...] = (
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _in_png),
    (lambda data: data.startswith((b"GIF87a", b"GIF89a")), _in_gif),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", _in_webp),
    (lambda data: data[4:8] == b"ftyp", _in_mp4),
    (lambda data: data.startswith(b"PK"), _in_zip),
)
