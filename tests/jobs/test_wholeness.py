"""The check that other tests end with finds what is wrong."""

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import Engine

from jobs import archive, pictures
from jobs.queue import Queue
from jobs.records import Job, Result
from store import ArtifactStore
from tests.jobs.wholeness import check_whole

Ask = Callable[..., Job]
FRAME = pictures.png(np.full((8, 8, 3), 200, np.uint8))


@pytest.fixture
def drawn(queue: Queue, ask: Ask, store: ArtifactStore) -> Job:
    """A job that has been drawn, with whole files, and tidied up."""
    ask()
    claim = queue.claim("executor")
    assert claim is not None
    packed = archive.pack({0: FRAME, 1: FRAME}, {})
    store.publish(claim.job.id, "frames.zip", packed)
    image = store.publish(claim.job.id, "picture.png", FRAME)
    animation = store.publish(claim.job.id, "animation.gif", pictures.gif(archive.images(packed), {}))
    queue.finish(claim, Result(image, animation, 1.0, {}, 8, 8))
    queue.tidied(claim.job.id)
    return queue.get(claim.job.id)


def test_a_studio_in_order_passes_and_what_nobody_names_is_swept(
    engine: Engine, store: ArtifactStore, drawn: Job
) -> None:
    store.put("aside/half", b"half of a pic")
    store.publish(drawn.id, "frames/000000.png", FRAME)

    check_whole(engine, store)

    left = {file.name.removeprefix(f"jobs/{drawn.id}/") for file in store.files("jobs")}
    assert left == {"picture.png", "animation.gif", "frames.zip"}
    assert store.files("aside") == []


def test_a_job_that_has_not_ended_is_told(engine: Engine, store: ArtifactStore, ask: Ask) -> None:
    job = ask()
    with pytest.raises(AssertionError, match=f"job {job.id} is still queued"):
        check_whole(engine, store)


def test_working_files_that_nobody_removed_are_told(
    engine: Engine, queue: Queue, store: ArtifactStore, ask: Ask
) -> None:
    ask()
    claim = queue.claim("executor")
    assert claim is not None
    queue.fail(claim, "It cannot be drawn.")
    with pytest.raises(AssertionError, match="nobody removed the working files"):
        check_whole(engine, store)


@pytest.mark.parametrize("name", ["picture.png", "animation.gif", "frames.zip"])
def test_half_a_file_is_told(engine: Engine, store: ArtifactStore, drawn: Job, name: str) -> None:
    whole = store.read(f"jobs/{drawn.id}/{name}")
    store.publish(drawn.id, name, whole[: len(whole) // 2])
    with pytest.raises(AssertionError, match=f"{name} is not whole"):
        check_whole(engine, store)


def test_a_result_without_its_file_is_told(engine: Engine, store: ArtifactStore, drawn: Job) -> None:
    store.delete(f"jobs/{drawn.id}/picture.png")
    with pytest.raises(AssertionError, match="results name files that are not there"):
        check_whole(engine, store)
