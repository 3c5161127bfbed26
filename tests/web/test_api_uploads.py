"""Pictures handed in through the API: kept, shown, and named in jobs."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from jobs.uploads import MAX_BYTES
from web.studio import Studio

Draw = Callable[[str], None]
SPEC = {"prompt": "a red circle", "steps": 1, "width": 64, "height": 64, "seed": 7}
UNKNOWN = "0" * 64


def png(colour: str = "teal", size: tuple[int, int] = (30, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def hand_in(client: TestClient, data: bytes, **query: Any) -> dict[str, Any]:
    answer = client.post("/uploads", content=data, params=query)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def submit(client: TestClient, **changes: Any) -> Any:
    return client.post("/jobs", json={"generator": "vqgan_clip", "parameters": SPEC | changes})


def test_a_picture_is_handed_in_and_shown(client: TestClient) -> None:
    upload = hand_in(client, png())

    assert (upload["width"], upload["height"]) == (30, 20)
    shown = client.get(f"/uploads/{upload['image']}")
    assert shown.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(shown.content)).getpixel((0, 0)) == (0, 128, 128)


def test_a_mask_becomes_black_and_white(client: TestClient, house: Studio) -> None:
    mask = hand_in(client, png("silver"), mask=True)["image"]

    assert set(np.unique(house.uploads.pixels(mask))) == {255}


def test_jobs_refer_to_what_was_handed_in(client: TestClient) -> None:
    start, mask, like = (hand_in(client, png(colour))["image"] for colour in ("teal", "white", "red"))

    job = submit(client, start_image=start, mask=mask, image_prompts=[like, start])

    assert job.status_code == 201, job.text
    assert job.json()["parameters"]["start_image"] == start
    assert job.json()["parameters"]["image_prompts"] == [like, start]


@pytest.mark.parametrize("parameters", [{"start_image": UNKNOWN}, {"image_prompts": [UNKNOWN]}])
def test_a_job_with_an_unknown_picture_is_refused(client: TestClient, parameters: dict[str, Any]) -> None:
    answer = submit(client, **parameters)

    assert answer.status_code == 404
    assert answer.json() == {"error": f"There is no uploaded picture {UNKNOWN}: hand it in first."}
    assert client.get("/jobs").json()["total"] == 0


def test_a_mask_needs_a_start_image(client: TestClient) -> None:
    answer = submit(client, mask=hand_in(client, png())["image"])

    assert answer.status_code == 422
    assert answer.json()["error"].startswith("A mask, or a cost of leaving it, needs a start image")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "This is no picture that can be read"),
        (b"GIF89a and then nothing", "This is no picture that can be read"),
        (bytes(MAX_BYTES + 1), "The picture has more than 20 MB"),
    ],
    ids=["empty", "junk", "large"],
)
def test_what_is_no_picture_is_refused(client: TestClient, data: bytes, told: str) -> None:
    answer = client.post("/uploads", content=data)

    assert answer.status_code == 422
    assert answer.json()["error"].startswith(told)


@pytest.mark.parametrize("image", [UNKNOWN, "nothing", "..%2F..%2Fstudio.db"])
def test_an_unknown_upload_is_told(client: TestClient, image: str) -> None:
    assert client.get(f"/uploads/{image}").status_code == 404


def test_a_result_begins_another_picture(client: TestClient, draw: Draw) -> None:
    job = submit(client).json()
    assert client.post(f"/jobs/{job['id']}/upload").status_code == 404
    draw(job["id"])

    upload = client.post(f"/jobs/{job['id']}/upload").json()

    assert (upload["width"], upload["height"]) == (64, 64)
    assert submit(client, start_image=upload["image"], start_afresh=0.5).status_code == 201
