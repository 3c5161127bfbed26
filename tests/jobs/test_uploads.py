"""Pictures that people hand in: whatever the file, it is kept as a plain PNG, or refused in one sentence."""

import hashlib
import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel, Field

from jobs.uploads import LONGEST_SIDE, Upload, UploadError, UploadNotFound, Uploads
from store import ArtifactStore

UNKNOWN = "0" * 64
IN_MEMORY = Uploads(ArtifactStore("memory://uploads"))
"""For many small examples."""


@pytest.fixture
def uploads(store: ArtifactStore) -> Uploads:
    return Uploads(store)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene(size: tuple[int, int] = (24, 16)) -> Image.Image:
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([across, down, 255 - across], -1).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_kind_of_picture_is_kept_under_its_hash(uploads: Uploads, kind: str) -> None:
    upload = uploads.add(file_of(scene(), kind))

    png = uploads.read(upload.reference)
    assert hashlib.sha256(png).hexdigest() == upload.reference
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert uploads.pixels(upload.reference).shape == (16, 24, 3)
    assert np.abs(uploads.pixels(upload.reference).astype(int) - np.asarray(scene())).mean() < 12


def test_the_same_picture_is_kept_once(uploads: Uploads) -> None:
    fast, small = (uploads.add(file_of(scene(), compress_level=level)) for level in (0, 9))

    assert fast == small == Upload(fast.reference, 24, 16)


def test_what_a_camera_turned_is_turned_upright(uploads: Uploads) -> None:
    turned = Image.Exif()
    turned[274] = 6

    upload = uploads.add(file_of(scene(), exif=turned))

    assert (upload.width, upload.height) == (16, 24)
    np.testing.assert_array_equal(uploads.pixels(upload.reference), np.rot90(np.asarray(scene()), -1))


def test_transparency_becomes_white_in_a_picture_and_black_in_a_mask(uploads: Uploads) -> None:
    image = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    image.putpixel((1, 0), (200, 200, 200, 255))

    picture = uploads.pixels(uploads.add(file_of(image)).reference)
    mask = uploads.pixels(uploads.add(file_of(image), mask=True).reference)

    assert picture[0].tolist() == [[255] * 3, [200] * 3]
    assert mask[0].tolist() == [[0] * 3, [255] * 3]


def test_sixteen_bits_a_pixel_keep_their_shades(uploads: Uploads) -> None:
    deep = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))

    assert uploads.pixels(uploads.add(file_of(deep)).reference)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK"])
def test_every_mode_becomes_rgb(uploads: Uploads, mode: str) -> None:
    image = scene().convert("L").convert(mode)
    data = file_of(image, "JPEG" if mode == "CMYK" else "PNG")

    assert uploads.pixels(uploads.add(data).reference).shape == (16, 24, 3)


def test_a_large_picture_is_reduced_whole(uploads: Uploads) -> None:
    upload = uploads.add(file_of(scene((3000, 1500))))

    assert (upload.width, upload.height) == (LONGEST_SIDE, LONGEST_SIDE // 2)


@pytest.mark.parametrize("side", [6_400, 20_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_size_before_it_is_unpacked(uploads: Uploads, side: int) -> None:
    with pytest.raises(UploadError, match="more than 40 million pixels"):
        uploads.add(png_of_nothing(side, side))


def png_of_nothing(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_too_many_bytes_are_refused(uploads: Uploads) -> None:
    with pytest.raises(UploadError, match="more than 20 MB"):
        uploads.add(bytes(20_000_001))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO"])
def test_other_kinds_of_files_are_refused(uploads: Uploads, kind: str) -> None:
    with pytest.raises(UploadError, match="hand in a whole PNG, JPEG, WebP or GIF file"):
        uploads.add(file_of(scene(), kind))


def kept_or_refused(data: bytes, mask: bool) -> None:
    with suppress(UploadError):
        upload = IN_MEMORY.add(data, mask=mask)
        assert IN_MEMORY.pixels(upload.reference).shape == (upload.height, upload.width, 3)


WHOLE = [file_of(scene(), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF"]), rest=st.binary()
)
def test_junk_is_refused_in_one_sentence(start: bytes, rest: bytes) -> None:
    kept_or_refused(start + rest, mask=False)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(whole=st.sampled_from(WHOLE), data=st.data(), mask=st.booleans())
def test_a_damaged_file_is_kept_or_refused_in_one_sentence(
    whole: bytes, data: st.DataObject, mask: bool
) -> None:
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)), "length")])
    for place in data.draw(st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=4), "places"):
        if damaged:
            damaged[place] = data.draw(st.integers(0, 255), "byte")
    kept_or_refused(bytes(damaged), mask)


@pytest.mark.parametrize("whole", WHOLE[:3], ids=["png", "jpeg", "webp"])
def test_a_truncated_file_is_refused(uploads: Uploads, whole: bytes) -> None:
    with pytest.raises(UploadError):
        uploads.add(whole[: len(whole) // 2])


@pytest.mark.parametrize("reference", [UNKNOWN, "", "../secret", "a" * 63, "A" * 64])
def test_what_was_never_handed_in_is_told(uploads: Uploads, reference: str) -> None:
    assert not uploads.has(reference)
    with pytest.raises(UploadNotFound, match="hand it in first"):
        uploads.read(reference)


def test_every_picture_that_a_spec_refers_to_must_be_there(uploads: Uploads) -> None:
    class Collage(BaseModel):
        name: str = UNKNOWN
        ground: str | None = Field(None, json_schema_extra={"image": True})
        pieces: tuple[str, ...] = Field((), json_schema_extra={"image": True})

    known = uploads.add(WHOLE[0]).reference

    uploads.require(Collage())
    uploads.require(Collage(ground=known, pieces=(known, known)))
    for missing in (Collage(ground=UNKNOWN), Collage(pieces=(known, UNKNOWN))):
        with pytest.raises(UploadNotFound, match=UNKNOWN):
            uploads.require(missing)


def test_a_picture_that_is_required_is_new_to_a_sweep(uploads: Uploads, tmp_path: Path) -> None:
    class Portrait(BaseModel):
        ground: str = Field(json_schema_extra={"image": True})

    known = uploads.add(WHOLE[0]).reference
    file = tmp_path / "artifacts" / uploads.name_of(known)
    os.utime(file, (0, 0))

    uploads.require(Portrait(ground=known))

    assert file.stat().st_mtime > 0
