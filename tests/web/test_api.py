"""The API with a real database, a real store and a real executor."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from jobs.clock import utc_now
from jobs.recipe import MAX_FILE_BYTES
from jobs.records import Progress
from tests.conftest import NewDatabase
from tests.web.conftest import LIMIT
from web.permissions import Openness, Rules
from web.studio import Studio

Draw = Callable[[str], None]
NewClient = Callable[..., TestClient]
PUBLIC = Rules(Openness.PUBLIC)
SPEC = {"prompt": "a red circle", "steps": 4, "width": 64, "height": 96, "seed": 7}


@pytest.fixture
def database_url(new_database: NewDatabase, tmp_path: Path) -> Iterator[str]:
    with new_database(tmp_path) as url:
        yield url


def submit(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/jobs", json={"generator": "vqgan_clip", "parameters": SPEC | changes})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_job_goes_the_whole_way(client: TestClient, draw: Draw) -> None:
    job = submit(client)
    assert (job["state"], job["prompt"], job["weights"]) == ("queued", "a red circle", "sandbox")
    assert (job["parameters"]["steps"], job["parameters"]["seed"]) == (4, 7)
    assert job["position"] == {"ahead": 0, "eta_seconds": None, "obstacle": None}
    assert client.get(f"/jobs/{job['id']}/image.png").status_code == 404

    draw(job["id"])

    done = client.get(f"/jobs/{job['id']}").json()
    assert done["state"] == "succeeded"
    assert done["progress"]["history"][-1] == {"step": 4.0, "loss": 0.0}
    image = client.get(done["result"]["image"].removeprefix("/api"))
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(image.content)).size == (64, 96)
    animation = client.get(done["result"]["animation"].removeprefix("/api"))
    assert animation.headers["content-type"] == "image/gif"
    assert Image.open(io.BytesIO(animation.content)).n_frames == 5


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("image", "image/png"),
        ("animation", "image/gif"),
        ("mp4", "video/mp4"),
        ("webp", "image/webp"),
        ("frames", "application/zip"),
    ],
)
def test_every_file_of_a_job_gives_its_parameters_back(
    name: str, kind: str, client: TestClient, draw: Draw
) -> None:
    job = submit(client, prompt="ein grüner Kreis")
    draw(job["id"])
    address = client.get(f"/jobs/{job['id']}").json()["result"][name].removeprefix("/api")

    file = client.get(address)
    answer = client.post("/recipes", content=file.content)

    assert (file.status_code, file.headers["content-type"]) == (200, kind)
    assert answer.status_code == 200
    recipe = answer.json()
    assert recipe["generator"] == "vqgan_clip"
    assert recipe["spec"] == {"prompt": "ein grüner Kreis", "weights": "sandbox", **job["parameters"]}
    again = client.post("/jobs", json={"generator": recipe["generator"], "parameters": recipe["spec"]})
    assert again.json()["parameters"] == job["parameters"]


@pytest.mark.parametrize("junk", [b"", b"GIF89a", b"a letter", b"PK\3\4 no zip"])
def test_a_file_without_parameters_is_told_in_one_sentence(client: TestClient, junk: bytes) -> None:
    answer = client.post("/recipes", content=junk)
    assert answer.status_code == 404
    assert answer.json()["error"].count(". ") == 0


def test_a_file_that_is_too_large_is_refused(client: TestClient) -> None:
    answer = client.post("/recipes", content=bytes(MAX_FILE_BYTES + 1))
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("The file is over 100 MB")


def test_pictures_of_several_seeds_are_asked_for_at_once(client: TestClient) -> None:
    body = {"generator": "vqgan_clip", "parameters": SPEC, "count": 3}
    first = client.post("/jobs", json=body).json()

    jobs = [client.get(f"/jobs/{job_id}").json() for job_id in first["ids"]]

    assert first["id"] == first["ids"][0]
    assert [job["parameters"]["seed"] for job in jobs] == [7, 8, 9]
    assert client.post("/jobs", json=body).status_code == 429
    assert client.get("/jobs?mine=true").json()["total"] == 3, "all or none"
    assert client.post("/jobs", json=body | {"count": 17}).status_code == 422


def test_presets_are_kept_listed_replaced_and_deleted(new_client: NewClient) -> None:
    mine, other = new_client(), new_client()
    new = {"name": "quick", "generator": "vqgan_clip", "weights": "sandbox", "parameters": SPEC}

    kept = mine.post("/presets", json=new).json()
    replaced = mine.post("/presets", json=new | {"parameters": {"steps": 9}}).json()

    assert (kept["name"], kept["parameters"]["steps"], kept["parameters"]["height"]) == ("quick", 4, 96)
    assert not {"prompt", "seed", "weights"} & set(kept["parameters"])
    assert (replaced["number"], replaced["parameters"]["steps"]) == (kept["number"], 9)
    assert mine.get("/presets").json() == [replaced]
    assert other.get("/presets").json() == []
    assert other.delete(f"/presets/{kept['number']}").status_code == 404
    assert mine.delete(f"/presets/{kept['number']}").status_code == 204
    assert mine.get("/presets").json() == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": " "}, "The name of a preset has 1 to 60 letters: type one."),
        ({"parameters": {"steps": -1}}, "'steps': input should be greater than or equal to 0"),
        ({"parameters": {"colour": 1}}, "There is no parameter 'colour'"),
        ({"weights": "gone"}, "VQGAN + CLIP has no weights 'gone'"),
        ({"generator": "crayons"}, "There is no generator 'crayons'"),
    ],
)
def test_a_bad_preset_is_told_in_one_sentence(
    client: TestClient, changes: dict[str, Any], sentence: str
) -> None:
    new = {"name": "a", "generator": "vqgan_clip", "weights": "sandbox", "parameters": {}} | changes
    answer = client.post("/presets", json=new)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(sentence)


def test_the_newest_frame_can_be_seen_while_a_job_is_drawn(client: TestClient, house: Studio) -> None:
    job = submit(client)
    assert client.get(f"/jobs/{job['id']}/frame").status_code == 404
    claim = house.queue.claim("someone")
    assert claim is not None
    name = house.artifacts.publish(job["id"], "live/000002.jpg", b"newest")
    house.queue.record_progress(claim, Progress(2, 4, name, [{"step": 2.0, "loss": 0.5}], utc_now()))

    frame = client.get(f"/jobs/{job['id']}/frame")
    assert (frame.content, frame.headers["content-type"]) == (b"newest", "image/jpeg")
    running = client.get(f"/jobs/{job['id']}").json()
    assert (running["state"], running["progress"]["step"], running["progress"]["steps"]) == ("running", 2, 4)


def test_events_tell_every_change_until_the_end(client: TestClient, draw: Draw) -> None:
    job = submit(client)
    draw(job["id"])
    with client.stream("GET", f"/jobs/{job['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = list(answer.iter_lines())
    assert "event: job" in lines
    last = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")][-1]
    assert (last["id"], last["state"]) == (job["id"], "succeeded")


def test_a_failed_job_may_be_asked_for_again_by_its_owner(new_client: NewClient, house: Studio) -> None:
    owner, other = new_client(PUBLIC), new_client(PUBLIC)
    job = submit(owner)
    assert owner.post(f"/jobs/{job['id']}/again").status_code == 409, "it has not failed"
    claim = house.queue.claim("executor")
    assert claim is not None
    house.queue.fail(claim, "No such luck.")

    assert other.post(f"/jobs/{job['id']}/again").status_code == 403
    again = owner.post(f"/jobs/{job['id']}/again").json()
    assert (again["state"], again["error"]) == ("queued", None)
    kinds = [event["kind"] for event in owner.get(f"/jobs/{job['id']}/history").json()]
    assert kinds == ["asked", "started", "failed", "asked again"]


def test_the_queue_is_paused_by_who_may(client: TestClient, new_client: NewClient, house: Studio) -> None:
    submit(client)
    assert new_client(PUBLIC).post("/queue/pause").status_code == 403
    assert client.post("/queue/pause").json() == {"waiting": 1, "running": 0, "paused": True}
    assert house.queue.claim("executor") is None
    assert not client.post("/queue/resume").json()["paused"]
    assert house.queue.claim("executor") is not None


def test_only_the_owner_may_cancel_and_delete(new_client: NewClient, draw: Draw) -> None:
    owner, other = new_client(PUBLIC), new_client(PUBLIC)
    job = submit(owner)
    assert job["mine"]
    assert not other.get(f"/jobs/{job['id']}").json()["mine"]
    assert other.post(f"/jobs/{job['id']}/cancel").status_code == 403
    draw(job["id"])
    assert other.delete(f"/jobs/{job['id']}").status_code == 403
    assert owner.delete(f"/jobs/{job['id']}").status_code == 204
    assert owner.get(f"/jobs/{job['id']}").status_code == 404


def test_a_waiting_job_is_cancelled_at_once_and_has_nothing_to_delete(client: TestClient) -> None:
    job = submit(client)
    assert client.delete(f"/jobs/{job['id']}").status_code == 409
    assert client.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert client.delete(f"/jobs/{job['id']}").status_code == 409


def test_a_program_is_known_by_its_own_secret(new_client: NewClient) -> None:
    mine = {"Authorization": "Bearer a-secret-of-my-own"}
    client, elsewhere = new_client(), new_client()
    job = client.post("/jobs", json={"generator": "vqgan_clip", "parameters": SPEC}, headers=mine).json()
    assert elsewhere.get(f"/jobs/{job['id']}", headers=mine).json()["mine"]
    assert not elsewhere.get(f"/jobs/{job['id']}").json()["mine"]


def test_jobs_are_listed_newest_first_by_owner_and_state(new_client: NewClient) -> None:
    mine, other = new_client(), new_client()
    first, second, theirs = submit(mine), submit(mine), submit(other)
    mine.post(f"/jobs/{first['id']}/cancel")

    def ids(client: TestClient, query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/jobs?{query}").json()["items"]]

    assert ids(mine, "") == [theirs["id"], second["id"], first["id"]]
    assert ids(mine, "mine=true") == [second["id"], first["id"]]
    assert ids(mine, "state=cancelled") == [first["id"]]
    assert ids(mine, "per_page=1&page=2") == [second["id"]]
    assert mine.get("/jobs?mine=true").json()["total"] == 2


def test_the_gallery_is_searched_by_words(client: TestClient, draw: Draw) -> None:
    for prompt in ("a red circle", "a blue bird"):
        draw(submit(client, prompt=prompt)["id"])
    found = client.get("/gallery", params={"text": "BIRD blue"}).json()
    assert [job["prompt"] for job in found["items"]] == ["a blue bird"]
    assert client.get("/gallery", params={"weights": "others"}).json()["total"] == 0


def test_a_pair_is_judged_once_and_counts(client: TestClient, draw: Draw) -> None:
    assert client.get("/votes/pair").json() == {"left": None, "right": None}
    for prompt in ("a red circle", "a blue bird"):
        draw(submit(client, prompt=prompt)["id"])
    pair = client.get("/votes/pair").json()
    vote = {"left": pair["left"]["id"], "right": pair["right"]["id"], "verdict": "left"}
    assert client.post("/votes", json=vote).status_code == 201
    assert client.post("/votes", json=vote).status_code == 409
    assert client.get("/votes/pair").json() == {"left": None, "right": None}
    best = client.get("/votes").json()["results"][0]
    assert (best["job"]["id"], best["wins"], best["losses"]) == (vote["left"], 1, 0)


def test_generators_come_with_their_schema_and_weights(client: TestClient) -> None:
    generator = client.get("/generators").json()[0]
    assert generator["name"] == "vqgan_clip"
    assert generator["parameters"]["properties"]["steps"]["default"] == 30
    assert generator["weights"][0]["examples"]


def test_the_house_tells_its_queue_and_executors(client: TestClient, house: Studio) -> None:
    submit(client)
    house.executors.register("one", device="cpu", threads=2)
    assert client.get("/queue").json() == {"waiting": 1, "running": 0, "paused": False}
    house.queue.pause("an admin")
    assert client.get("/queue").json()["paused"] is True
    (executor,) = client.get("/executors").json()
    assert (executor["id"], executor["device"], executor["alive"]) == ("one", "cpu", True)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"prompt": "  "}, "The prompt is empty: type what the picture should show."),
        ({"prompt": "\ud800"}, "'prompt': input should be a valid string"),
        ({"prompt": "x" * 501}, "'prompt': string should have at most 500 characters"),
        ({"width": 100}, "'width': input should be a multiple of 16, but it was 100."),
        ({"steps": -1}, "'steps': input should be greater than or equal to 0, but it was -1."),
        ({"weights": "gone"}, "VQGAN + CLIP has no weights 'gone'; choose one of sandbox."),
        ({"colour": 1}, "There is no parameter 'colour'"),
    ],
)
def test_a_bad_parameter_is_told_in_one_sentence(
    client: TestClient, parameters: dict[str, Any], sentence: str
) -> None:
    body = json.dumps({"generator": "vqgan_clip", "parameters": SPEC | parameters})
    answer = client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(sentence)


def test_an_unknown_generator_is_told_in_one_sentence(client: TestClient) -> None:
    answer = client.post("/jobs", json={"generator": "crayons", "parameters": SPEC})
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "There is no generator 'crayons'; choose one of vqgan_clip, biggan_clip."
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/jobs/none", 404),
        ("GET", "/jobs/none/events", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/jobs", 405),
        ("GET", "/jobs?page=0", 422),
        ("POST", "/jobs", 422),
    ],
)
def test_whatever_is_wrong_comes_with_one_sentence(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].endswith(".")


def test_too_many_waiting_jobs_are_refused(client: TestClient) -> None:
    for _ in range(LIMIT):
        submit(client)
    answer = client.post("/jobs", json={"generator": "vqgan_clip", "parameters": SPEC})
    assert answer.status_code == 429
    assert "wait for one, or cancel one" in answer.json()["error"]
