"""How files come out of the store: whole, in parts, not again, or by a link that the store signed."""

import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from jobs.uploads import Uploads
from store import ArtifactStore
from tests.object_store import ObjectStore
from web import studio
from web.api.pictures import A_DAY
from web.studio import Studio

SPEC = {"prompt": "a red circle, très rond", "steps": 4, "width": 64, "height": 64, "seed": 7}
STORES = ["folder", "s3"]


@pytest.fixture
def house(request: pytest.FixtureRequest, house: Studio) -> Studio:
    """On a folder, or where a test asks for it, on the object store."""
    if getattr(request, "param", "folder") == "folder":
        return house
    objects: ObjectStore = request.getfixturevalue("object_store")
    store = ArtifactStore(objects.place(), objects.options())
    opened = replace(house, artifacts=store, uploads=Uploads(store))
    studio.use(lambda: opened)
    return opened


@pytest.fixture
def picture(client: TestClient, draw: Callable[[str], None]) -> str:
    """The address of a finished picture."""
    job = client.post("/jobs", json={"generator": "vqgan_clip", "parameters": SPEC}).json()
    draw(job["id"])
    return f"/jobs/{job['id']}/image.png"


@pytest.mark.parametrize("house", STORES, indirect=True)
def test_a_file_comes_whole_with_its_length_its_tag_and_its_name(
    house: Studio, client: TestClient, picture: str
) -> None:
    answer = client.get(picture)

    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["cache-control"] == A_DAY
    assert answer.headers["accept-ranges"] == "bytes"
    name = quote("a-red-circle-très-rond.png")
    assert answer.headers["content-disposition"] == f"inline; filename*=utf-8''{name}"
    saved = client.get(picture, params={"save": True})
    assert saved.headers["content-disposition"] == f"attachment; filename*=utf-8''{name}"
    for known in (answer.headers["etag"], f'"other", {answer.headers["etag"]}'):
        again = client.get(picture, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get(picture, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("house", STORES, indirect=True)
def test_a_part_of_a_file_comes_alone(house: Studio, client: TestClient, picture: str) -> None:
    whole = client.get(picture)
    data, size = whole.content, len(whole.content)

    for asked, start, end in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=10-", 10, size),
        (f"bytes=7-{size + 50}", 7, size),
        ("bytes=-6", size - 6, size),
        (f"bytes=-{size + 50}", 0, size),
    ]:
        part = client.get(picture, headers={"Range": asked, "If-Range": whole.headers["etag"]})
        assert (part.status_code, part.content) == (206, data[start:end]), asked
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["content-length"] == str(end - start)
    for asked in ("bytes=-", "bytes=9-5", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", ""):
        assert client.get(picture, headers={"Range": asked}).content == data, asked
    changed = client.get(picture, headers={"Range": "bytes=0-0", "If-Range": '"an older one"'})
    assert (changed.status_code, changed.content) == (200, data)
    for beyond in (f"bytes={size}-", "bytes=-0"):
        refused = client.get(picture, headers={"Range": beyond})
        assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{size}")
        assert "ask for a range that begins before" in refused.json()["error"]


@pytest.mark.parametrize("house", STORES, indirect=True)
def test_a_large_file_is_never_in_memory_whole(
    house: Studio, client: TestClient, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.CHUNK_BYTES", 64 * 1024)
    job = house.queue.get(picture.split("/")[2])
    assert job.result is not None
    data = bytes(range(256)) * 4 * 1024
    house.artifacts.put(job.result.image, data)
    sizes: list[int] = []
    stream = ArtifactStore.stream

    def noting(store: ArtifactStore, *range_of: Any) -> Any:
        for piece in stream(store, *range_of):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr(ArtifactStore, "stream", noting)
    monkeypatch.setattr(ArtifactStore, "read", None)

    assert client.get(picture).content == data
    assert sizes == [64 * 1024] * 16


def test_a_file_that_is_gone_is_told_before_anything_is_sent(
    house: Studio, client: TestClient, picture: str
) -> None:
    house.artifacts.delete_job(picture.split("/")[2])

    answer = client.get(picture)

    assert answer.status_code == 404
    assert "it was deleted, or never was" in answer.json()["error"]


@pytest.mark.parametrize("house", ["s3"], indirect=True)
def test_signed_links_lead_to_the_store_and_keep_type_and_name(
    house: Studio, client: TestClient, picture: str
) -> None:
    proxied = client.get(picture).content
    studio.use(lambda: replace(house, signs_links=True))

    led = client.get(picture, params={"save": True}, follow_redirects=False)

    assert led.status_code == 307
    assert led.headers["cache-control"] == "private, max-age=240"
    assert "X-Amz-Expires=300" in led.headers["location"]
    with urllib.request.urlopen(led.headers["location"], timeout=30) as answer:
        assert answer.read() == proxied
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''a-red-circle")
    assert client.get("/jobs/nowhere/image.png", follow_redirects=False).status_code == 404


@pytest.mark.parametrize("house", ["s3"], indirect=True)
def test_what_a_script_of_the_page_reads_comes_through_this_server(
    house: Studio, client: TestClient, picture: str
) -> None:
    studio.use(lambda: replace(house, signs_links=True))
    upload = client.post(picture.replace("/image.png", "/upload")).json()["image"]

    answer = client.get(f"/uploads/{upload}", follow_redirects=False)

    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")


def test_a_store_that_signs_nothing_is_proxied_all_the_same(
    house: Studio, client: TestClient, picture: str
) -> None:
    studio.use(lambda: replace(house, signs_links=True))

    assert client.get(picture, follow_redirects=False).status_code == 200
