import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from jobs import pictures
from jobs.gallery import Gallery, NotYours, SampleError, Stars
from jobs.queue import JobNotFound, Queue
from jobs.records import Job, Verdict
from jobs.votes import Votes
from store import ArtifactStore
from tests.conftest import everywhere
from tests.jobs.conftest import TurnableClock

Succeed = Callable[..., Job]


@pytest.fixture
def gallery(engine: Engine, store: ArtifactStore, clock: TurnableClock) -> Gallery:
    return Gallery(engine, store, clock=clock)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for number, prompt in enumerate(["a tree", "a house"]):
        folder = tmp_path / "samples" / prompt
        folder.mkdir(parents=True)
        image = np.full((16, 24, 3), number, np.uint8)
        (folder / "picture.png").write_bytes(pictures.png(image))
        (folder / "picture.gif").write_bytes(pictures.gif([image], {}))
        spec = {"prompt": prompt, "weights": "sandbox", "seed": number}
        sample = {"generator": "vqgan_clip", "parameters": spec, "numbers": {"score": 0.9}, "seconds": 7.5}
        (folder / "picture.json").write_text(json.dumps(sample))
    return tmp_path / "samples"


def prompts(items: list[Job]) -> list[str]:
    return [job.prompt for job in items]


def test_results_come_newest_first_and_nothing_else_does(
    gallery: Gallery, succeed: Succeed, ask: Succeed, clock: TurnableClock
) -> None:
    for prompt in ("first", "second", "third"):
        succeed(prompt=prompt)
        clock.turn(1)
    ask(prompt="waiting")

    found = gallery.search()

    assert (prompts(found.items), found.total) == (["third", "second", "first"], 3)
    assert all(job.result is not None for job in found.items)


def test_pages_follow_each_other(gallery: Gallery, succeed: Succeed) -> None:
    for number in range(5):
        succeed(prompt=str(number))

    pages = [gallery.search(page=page, per_page=2) for page in (1, 2, 3, 4)]

    assert [prompts(page.items) for page in pages] == [["4", "3"], ["2", "1"], ["0"], []]
    assert {page.total for page in pages} == {5}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("circle", ["a RED circle", "a blue circle"]),
        ("red CIRCLE", ["a RED circle"]),
        ("100%", ["100% green"]),
        ("%", ["100% green"]),
        ("_", []),
        ("  ", ["100% green", "a RED circle", "a blue circle"]),
        ("'; DROP TABLE jobs", []),
    ],
)
def test_every_word_of_the_text_is_looked_for(
    gallery: Gallery, succeed: Succeed, text: str, found: list[str]
) -> None:
    for prompt in ("a RED circle", "a blue circle", "100% green"):
        succeed(prompt=prompt)

    page = gallery.search(text)

    assert sorted(prompts(page.items)) == found
    assert page.total == len(found)


def test_results_are_filtered_by_generator_and_weights(gallery: Gallery, succeed: Succeed) -> None:
    succeed()

    assert gallery.search(generator="numpy", weights="sandbox").total == 1
    assert gallery.search(generator="other").total == 0
    assert gallery.search(weights="other").total == 0


@everywhere
def test_who_asked_for_a_result_deletes_it_with_its_files_and_votes(
    gallery: Gallery, engine: Engine, store: ArtifactStore, succeed: Succeed
) -> None:
    gone, kept = succeed("ann"), succeed("bob")
    Votes(engine).cast("carl", gone.id, kept.id, Verdict.LEFT)

    gallery.delete(gone.id, "ann")

    assert [job.id for job in gallery.search().items] == [kept.id]
    assert not store.exists(gone.result.image)
    assert store.exists(kept.result.image)
    assert Votes(engine).standings().results == []


@everywhere
def test_nobody_deletes_what_others_asked_for(
    gallery: Gallery, store: ArtifactStore, succeed: Succeed
) -> None:
    job = succeed("ann")

    with pytest.raises(NotYours, match="only who asked for it may delete it"):
        gallery.delete(job.id, "bob")

    assert gallery.search().total == 1
    assert store.exists(job.result.image)


def test_only_results_are_deleted(gallery: Gallery, ask: Succeed, queue: Queue) -> None:
    job = ask("ann")

    for job_id in (job.id, "nowhere"):
        with pytest.raises(JobNotFound):
            gallery.delete(job_id, "ann")

    assert queue.get(job.id) == job


@everywhere
def test_samples_are_shown_once(gallery: Gallery, store: ArtifactStore, samples: Path) -> None:
    assert gallery.import_samples(samples) == 2
    assert gallery.import_samples(samples) == 0

    page = gallery.search()

    assert prompts(page.items) == ["a house", "a tree"], "the first by name is shown first"
    sample = page.items[0]
    assert (sample.submitter, sample.generator, sample.weights) == ("studio", "vqgan_clip", "sandbox")
    assert sample.parameters == {"seed": 1}
    assert (sample.result.width, sample.result.height, sample.result.seconds) == (24, 16, 7.5)
    assert store.read(sample.result.image) == (samples / "a house" / "picture.png").read_bytes()
    assert store.read(sample.result.animation) == (samples / "a house" / "picture.gif").read_bytes()


def test_no_samples_are_no_trouble(gallery: Gallery, tmp_path: Path) -> None:
    assert gallery.import_samples(tmp_path / "nowhere") == 0


@pytest.mark.parametrize("broken", ["picture.png", "picture.gif", "picture.json"])
def test_a_broken_sample_is_told(gallery: Gallery, samples: Path, broken: str) -> None:
    (samples / "a tree" / broken).unlink() if broken != "picture.json" else (
        samples / "a tree" / broken
    ).write_text("{}")

    with pytest.raises(SampleError, match="The sample picture.json cannot be shown"):
        gallery.import_samples(samples)


def test_a_picture_and_its_animation_carry_the_recipe() -> None:
    from PIL import Image

    recipe = {"spec": {"prompt": "ein grüner Kreis 🟢"}}
    images = [np.full((8, 8, 3), value, np.uint8) for value in (0, 90, 200)]

    still = Image.open(io.BytesIO(pictures.png(images[0], recipe)))
    moving = Image.open(io.BytesIO(pictures.gif(images, recipe)))

    assert json.loads(still.text["recipe"]) == recipe
    assert json.loads(moving.info["comment"]) == recipe
    durations = []
    for index in range(moving.n_frames):
        moving.seek(index)
        durations.append(moving.info["duration"])
        assert abs(int(np.asarray(moving.convert("RGB")).mean()) - int(images[index].mean())) <= 2
    assert durations == [100, 100, 1500]
    assert moving.info["loop"] == 0


def test_stars_are_counted_once_a_person_and_filtered_by(gallery: Gallery, succeed: Succeed) -> None:
    starred, other = succeed(prompt="starred"), succeed(prompt="other")
    for person in ("ann", "bob", "bob"):
        gallery.star(starred.id, person)

    assert gallery.stars([starred.id, other.id], "bob") == {starred.id: Stars(2, True), other.id: Stars()}
    assert prompts(gallery.search(starred_by="bob").items) == ["starred"]
    assert gallery.search(starred_by="cat").total == 0
    gallery.unstar(starred.id, "bob")
    gallery.unstar(starred.id, "cat")
    assert gallery.stars([starred.id], "bob") == {starred.id: Stars(1, False)}


def test_only_results_are_starred(gallery: Gallery, ask: Succeed) -> None:
    for job_id in (ask().id, "nothing"):
        with pytest.raises(JobNotFound):
            gallery.star(job_id, "ann")


def test_web_apps_that_start_together_show_every_sample_once(gallery: Gallery, samples: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        new = list(threads.map(lambda _: gallery.import_samples(samples), range(4)))

    assert sum(new) == gallery.search().total == 2
