"""A recipe comes back out of every kind of file, and nothing else comes out of junk."""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import archive, pictures, recipe
from jobs.recipe import NoRecipe, recipe_in
from settings import ROOT

RECIPE = {
    "generator": "vqgan_clip",
    "spec": {
        "prompt": 'ein grüner; Kreis = 🟢 " \\ # <a> & ]]>',
        "seed": 4294967295,
        "rate": 0.05,
        "x": None,
    },
    "versions": {"python": "3.11"},
}
IMAGES = [np.full((32, 48, 3), value, np.uint8) for value in (0, 100, 200)]
MAKE: dict[str, Callable[[], bytes]] = {
    "png": lambda: pictures.png(IMAGES[0], RECIPE),
    "gif": lambda: pictures.gif(IMAGES, RECIPE),
    "webp": lambda: pictures.webp(IMAGES, RECIPE),
    "mp4": lambda: pictures.mp4(IMAGES, RECIPE),
    "zip": lambda: archive.pack({n: pictures.png(image) for n, image in enumerate(IMAGES)}, RECIPE),
}
QUICKLY = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@cache
def file_of(kind: str) -> bytes:
    return MAKE[kind]()


def zipped(text: bytes, compression: int = zipfile.ZIP_DEFLATED, name: str = "recipe.json") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(name, text)
    return file.getvalue()


def png_with(kind: bytes, content: bytes) -> bytes:
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return b"\x89PNG\r\n\x1a\n" + chunk


def read_or_refused(data: bytes) -> Any:
    try:
        return recipe_in(data)
    except NoRecipe:
        return None


@pytest.mark.parametrize("kind", MAKE)
def test_the_recipe_comes_back_whole(kind: str) -> None:
    assert recipe_in(file_of(kind)) == RECIPE


def test_the_samples_tell_their_recipes() -> None:
    files = [file for file in (ROOT / "res" / "inferences").iterdir() if file.suffix in {".png", ".gif"}]

    assert files
    for file in files:
        sample = json.loads(file.with_suffix(".json").read_text())
        assert recipe_in(file.read_bytes())["spec"] == sample["parameters"]


def test_frames_that_were_packed_again_still_tell() -> None:
    assert recipe_in(zipped(json.dumps(RECIPE).encode())) == RECIPE


def test_a_compressed_text_chunk_is_read_too() -> None:
    text = zlib.compress(json.dumps(RECIPE).encode())

    assert recipe_in(png_with(b"zTXt", b"recipe\0\0" + text)) == RECIPE


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "This is no PNG, GIF, WebP, MP4 or zip of frames"),
        (b"dear diary", "This is no PNG, GIF, WebP, MP4 or zip of frames"),
        (pictures.png(IMAGES[0]), "There is no recipe in this file"),
        (pictures.png(IMAGES[0], {"made by": "another program"}), "There is no recipe in this file"),
        (png_with(b"tEXt", b"recipe\0{'generator': "), "There is no recipe in this file"),
        (zipped(b"hello", name="letter.txt"), "There is no recipe in this file"),
    ],
)
def test_what_holds_none_is_told_in_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(NoRecipe, match=sentence):
        recipe_in(data)


@pytest.mark.parametrize(
    "text",
    [
        b'{"generator": "a", "spec": ' + b"[" * 100_000,
        b'{"generator": "a", "spec": {"steps": NaN}}',
        b'{"generator": "a", "spec": {"steps": 1e999}}',
        b'{"generator": "a", "spec": {"steps": ' + b"9" * 100_000 + b"}}",
        b'{"generator": "a", "spec": {"prompt": "\\ud800"}}',
        b'{"generator": "a", "spec": {"prompt": "\xff"}}',
        b'{"generator": "a", "spec": {"prompt": "' + b"a" * recipe.MAX_RECIPE_BYTES + b'"}}',
        b'{"generator": 1, "spec": {}}',
        b'{"generator": "a", "spec": []}',
        b"[]",
    ],
    ids=lambda text: text[:40].decode(errors="replace"),
)
def test_a_recipe_that_could_do_harm_is_none(text: bytes) -> None:
    with pytest.raises(NoRecipe):
        recipe_in(zipped(text, zipfile.ZIP_STORED))
    with pytest.raises(NoRecipe):
        recipe_in(png_with(b"tEXt", b"recipe\0" + text))


def test_nothing_is_unpacked_beyond_a_recipes_size() -> None:
    bomb = b'{"generator": "a", "spec": {}, "more": "' + bytes(8 * 2**20)
    compressions = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    files = [zipped(bomb, compression) for compression in compressions]
    files.append(png_with(b"zTXt", b"recipe\0\0" + zlib.compress(bomb)))
    del bomb

    tracemalloc.start()
    for file in files:
        assert read_or_refused(file) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 * 2**20


def test_a_zip_of_very_many_members_is_not_opened() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("recipe.json", json.dumps(RECIPE))
        for number in range(10_000):
            archive.writestr(f"{number}", b"")

    with pytest.raises(NoRecipe):
        recipe_in(file.getvalue())


def test_a_file_that_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(NoRecipe, match="over 100 MB"):
        recipe_in(bytes(recipe.MAX_FILE_BYTES + 1))


@pytest.mark.parametrize("kind", MAKE)
@QUICKLY
@given(data=st.data())
def test_damaged_files_are_read_or_refused(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(file_of(kind))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))

    found = read_or_refused(bytes(damaged[:end]))

    assert found is None or isinstance(found["spec"], dict)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x00\x01\x00\x00WEBP",
        b"\x00\x00\x00\x08ftyp",
        b"PK\x03\x04",
    ],
)
@QUICKLY
@given(junk=st.binary(max_size=400))
def test_junk_is_refused(beginning: bytes, junk: bytes) -> None:
    assert read_or_refused(beginning + junk) is None


def test_an_mp4_of_boxes_in_boxes_is_walked_quickly() -> None:
    """Eight bytes a box: what is inside of each is looked at only as far as there are parts to look at."""
    boxes = struct.pack(">I4s", 8, b"moov") * 2_000_000
    with pytest.raises(NoRecipe):
        recipe_in(struct.pack(">I4s", 8, b"ftyp") + boxes)
