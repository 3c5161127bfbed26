"""The forms in which an animation can be had: made once, the same each time, gone with the job."""

import io
import json
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from jobs import archive, exports, pictures
from jobs.exports import Export
from jobs.gallery import Gallery
from jobs.queue import Queue
from jobs.recipe import recipe_in
from jobs.records import Job, Result
from store import ArtifactNotFound, ArtifactStore
from tests.conftest import everywhere

RECIPE = {"generator": "numpy", "spec": {"prompt": "ein Kreis"}}
DERIVED = (Export.MP4, Export.WEBP, Export.ZIP)


def flat(value: int, height: int = 33, width: int = 47) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def finish(queue: Queue, store: ArtifactStore, ask: Callable[..., Job]) -> Callable[..., Job]:
    """A finished job of these frames; an older one left no zip of them."""

    def finish(frames: dict[int, np.ndarray], *, older: bool = False) -> Job:
        ask()
        claim = queue.claim("executor")
        assert claim is not None
        packed = archive.pack({step: pictures.png(image) for step, image in frames.items()}, RECIPE)
        animation = pictures.gif(archive.images(packed), RECIPE)
        if not older:
            store.publish(claim.job.id, Export.ZIP, packed)
        image = store.publish(claim.job.id, Export.PNG, pictures.png(frames[max(frames)], RECIPE))
        moving = store.publish(claim.job.id, Export.GIF, animation)
        queue.finish(claim, Result(image, moving, 1.0, {}, 47, 33))
        return queue.get(claim.job.id)

    return finish


def film(data: bytes, folder: Path) -> list[np.ndarray]:
    (folder / "film.mp4").write_bytes(data)
    about, *frames = imageio_ffmpeg.read_frames(folder / "film.mp4")
    width, height = about["size"]
    assert (about["codec"], about["pix_fmt"].partition("(")[0], about["fps"]) == ("h264", "yuv420p", 10)
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames]


def test_the_film_shows_every_frame_and_rests_on_the_last(
    store: ArtifactStore, finish: Callable[..., Job], tmp_path: Path
) -> None:
    job = finish({0: flat(0), 5: flat(100), 9: flat(200)})

    data = exports.read(store, job, Export.MP4)

    shown = film(data, tmp_path)
    means = [round(float(frame.mean())) for frame in shown]
    assert {frame.shape for frame in shown} == {(34, 48, 3)}, "sides are even"
    assert len(shown) == 2 + 15
    assert np.abs(np.array(means) - np.array([0, 100, *[200] * 15])).max() <= 3
    assert data.index(b"moov") < data.index(b"mdat"), "it plays before it is loaded"


def test_the_colours_of_the_film_are_those_of_the_picture(
    store: ArtifactStore, finish: Callable[..., Job], tmp_path: Path
) -> None:
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:32, :32], colours[:32, 32:], colours[32:] = (220, 30, 40), (30, 200, 60), (20, 40, 210)

    shown = film(exports.read(store, finish({0: colours}), Export.MP4), tmp_path)[-1]

    for area in (np.s_[4:28, 4:28], np.s_[4:28, 36:60], np.s_[36:60, 4:60]):
        assert np.abs(shown[area].mean((0, 1)) - colours[area].mean((0, 1))).max() <= 6


def test_the_webp_shows_every_frame_and_rests_on_the_last(
    store: ArtifactStore, finish: Callable[..., Job]
) -> None:
    job = finish({0: flat(0), 5: flat(100), 9: flat(200)})

    moving = Image.open(io.BytesIO(exports.read(store, job, Export.WEBP)))

    shown = []
    for index in range(moving.n_frames):
        moving.seek(index)
        mean = float(np.asarray(moving.convert("RGB")).mean())
        shown.append((moving.info["duration"], mean))
    assert [duration for duration, _ in shown] == [100, 100, 1500]
    assert np.abs(np.array([mean for _, mean in shown]) - np.array([0, 100, 200])).max() <= 3
    assert moving.info["loop"] == 0


def test_the_zip_holds_the_frames_as_they_were_numbered_by_step(
    store: ArtifactStore, finish: Callable[..., Job]
) -> None:
    frames = {0: flat(0), 5: flat(100), 12: flat(200)}

    with zipfile.ZipFile(io.BytesIO(exports.read(store, finish(frames), Export.ZIP))) as file:
        assert file.namelist() == ["recipe.json", "000000.png", "000005.png", "000012.png"]
        assert {member.compress_type for member in file.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(file.read("recipe.json")) == RECIPE
        for step, image in frames.items():
            assert np.array_equal(pictures.pixels(file.read(f"{step:06d}.png")), image)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("export", DERIVED)
def test_the_same_job_gives_the_same_bytes_with_the_recipe_inside(
    export: Export, older: bool, store: ArtifactStore, finish: Callable[..., Job]
) -> None:
    one, other = (finish({0: flat(0), 5: flat(100)}, older=older) for _ in range(2))

    data = exports.read(store, one, export)

    assert data == exports.read(store, other, export)
    assert recipe_in(data) == RECIPE


@everywhere
@pytest.mark.parametrize("export", DERIVED)
def test_what_was_made_is_kept(export: Export, store: ArtifactStore, finish: Callable[..., Job]) -> None:
    job = finish({0: flat(0)}, older=True)
    data = exports.read(store, job, export)
    assert job.result is not None
    store.delete(job.result.animation)

    assert exports.read(store, job, export) == data


def test_what_several_ask_for_at_once_is_made_once(
    store: ArtifactStore, finish: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, made, together = finish({0: flat(0)}), list[str](), threading.Barrier(3)

    def make(*_: object) -> bytes:
        made.append("a film")
        return b"a film"

    def ask(_: int) -> bytes:
        together.wait(60)
        return exports.read(store, job, Export.WEBP)

    monkeypatch.setitem(exports._MAKE, Export.WEBP, make)
    with ThreadPoolExecutor(3) as people:
        assert list(people.map(ask, range(3))) == [b"a film"] * 3
    assert made == ["a film"]


def test_frames_of_a_second_pass_are_larger(store: ArtifactStore, finish: Callable[..., Job]) -> None:
    job = finish({0: flat(0, 32, 48), 5: flat(100, 32, 48), 6: flat(200, 64, 96)})

    for export in (Export.GIF, Export.WEBP):
        moving = Image.open(io.BytesIO(exports.read(store, job, export)))
        assert (moving.size, moving.n_frames) == ((96, 64), 3)
    with zipfile.ZipFile(io.BytesIO(exports.read(store, job, Export.ZIP))) as file:
        sizes = [pictures.size(file.read(name)) for name in file.namelist()[1:]]
    assert sizes == [(48, 32), (48, 32), (96, 64)]


def test_animations_are_never_larger_than_a_screen() -> None:
    shown = list(pictures.fitted([flat(0, 16, 32), flat(9, 1024, 2048)], (2048, 1024)))

    assert [image.shape for image in shown] == [(512, 1024, 3)] * 2


@everywhere
def test_deleting_a_result_removes_every_file(
    engine: Engine, store: ArtifactStore, finish: Callable[..., Job]
) -> None:
    job = finish({0: flat(0)})
    for export in Export:
        exports.read(store, job, export)

    Gallery(engine, store).delete(job.id, job.submitter)

    assert store.files("jobs") + store.files("aside") == []
    for export in Export:
        with pytest.raises(ArtifactNotFound):
            exports.read(store, job, export)


@everywhere
def test_what_is_made_while_its_job_is_deleted_does_not_stay(
    store: ArtifactStore, finish: Callable[..., Job]
) -> None:
    job = finish({0: flat(0)})
    assert job.result is not None
    store.delete(job.result.image)

    exports.read(store, job, Export.WEBP)

    assert not store.exists(f"jobs/{job.id}/{Export.WEBP}")
