"""``generate.py`` as people run it, beside a real executor."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import db
from jobs.gallery import Gallery
from jobs.queue import Queue
from jobs.records import JobState
from jobs.uploads import Uploads
from settings import ROOT
from store import ArtifactStore
from tests.jobs.fast_executor import open_queue
from tests.jobs.processes import executor, load, quick_settings, wait_until


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    arguments = quick_settings(tmp_path / "data", "queue.lease_seconds=30")
    db.migrate(load(arguments).database_url)
    return arguments


@pytest.fixture
def queue(arguments: list[str]) -> Queue:
    return open_queue(load(arguments))


@pytest.fixture
def alive(arguments: list[str], tmp_path: Path, queue: Queue) -> Iterator[None]:
    """An executor at work."""
    with executor(arguments, tmp_path / "executor.log"):
        wait_until(lambda: "takes jobs" in (tmp_path / "executor.log").read_text(), "the executor is alive")
        yield


def start(*words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
    return subprocess.Popen(
        [sys.executable, "generate.py", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def generate(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    process = start(*words)
    out, error = process.communicate(timeout=240)
    return process.returncode, out, error


@pytest.mark.usefixtures("alive")
def test_a_picture_is_asked_for_followed_and_saved(
    arguments: list[str], tmp_path: Path, queue: Queue
) -> None:
    folder = tmp_path / "pictures"

    status, out, error = generate(
        "A red circle!", "--steps", "20", "--seed", "7", "--save-dir", str(folder), *arguments
    )

    assert status == 0, error
    png, gif = map(Path, out.split())
    assert png.name.startswith("a-red-circle-")
    recipe = json.loads(Image.open(png).text["recipe"])
    assert recipe["spec"]["prompt"] == "A red circle!"
    assert (recipe["spec"]["steps"], recipe["spec"]["seed"]) == (20, 7)
    assert Image.open(gif).n_frames == 5
    assert "20/20" in error, "the progress bar reaches the end"
    assert "No executor is alive" not in error
    gallery = Gallery(db.open_engine(load(arguments).database_url), ArtifactStore(str(tmp_path / "other")))
    assert gallery.import_samples(folder) == 1, "what is saved can be a sample"


@pytest.mark.usefixtures("alive")
def test_pictures_are_handed_in_as_files(arguments: list[str], tmp_path: Path, queue: Queue) -> None:
    start, mask, like = (tmp_path / name for name in ("start.jpg", "mask.png", "like.webp"))
    Image.new("RGB", (40, 30), "teal").save(start)
    Image.new("L", (40, 30), 200).save(mask)
    Image.new("RGB", (30, 30), "red").save(like)

    status, _, error = generate(
        *("A red circle!", "--steps", "1", "--start-image", str(start), "--mask", str(mask)),
        *("--image-prompts", str(like), "--image-prompts", str(start)),
        *("--save-dir", str(tmp_path), *arguments),
    )

    assert status == 0, error
    (job,) = queue.search().items
    uploads = Uploads(ArtifactStore(load(arguments).artifact_url))
    assert uploads.pixels(job.parameters["start_image"]).shape == (30, 40, 3)
    assert uploads.pixels(job.parameters["mask"]).min() == 255, "a mask is black and white"
    like_reference, start_reference = job.parameters["image_prompts"]
    assert uploads.pixels(like_reference)[0, 0].argmax() == 0
    assert start_reference == job.parameters["start_image"], "the same picture is kept once"


@pytest.mark.usefixtures("alive")
def test_what_made_a_file_is_asked_for_again_with_other_flags(
    arguments: list[str], tmp_path: Path, queue: Queue
) -> None:
    made = tmp_path / "made"
    quick = ["--steps", "8", "--candidates", "3", "--seed", "4294967295"]
    formats = ["--formats", "webp,mp4,zip", "--save-preset", "rough"]
    status, out, error = generate("a red circle", *quick, *formats, "--save-dir", str(made), *arguments)
    assert status == 0, error
    files = list(map(Path, out.split()))
    assert [file.suffix for file in files] == [".webp", ".mp4", ".zip"]
    (first,) = queue.search().items

    for file in files:
        again = [f"--like={file}", "--steps=4", "--count=2", "--save-dir", str(tmp_path)]
        status, out, error = generate(*again, *arguments)
        assert status == 0, error
        assert [Path(name).suffix for name in out.split()] == [".png", ".gif"] * 2
        other, same_seed = queue.search(per_page=2).items
        assert same_seed.spec == first.spec | {"steps": 4}
        assert other.spec == first.spec | {"steps": 4, "seed": 0}

    status, _, error = generate(
        "a bird", "--preset", "rough", "--steps", "2", "--save-dir", str(made), *arguments
    )
    assert status == 0, error
    (preset,) = queue.search(per_page=1).items
    assert (preset.prompt, preset.parameters["candidates"], preset.parameters["steps"]) == ("a bird", 3, 2)


@pytest.mark.usefixtures("alive")
def test_ctrl_c_cancels_the_job(arguments: list[str], queue: Queue) -> None:
    process = start("a red circle", "--steps", "2000", *arguments)
    wait_until(lambda: queue.counts().running == 1, "the job runs")

    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=240)

    assert process.returncode == 130
    assert "The job was cancelled." in error
    assert [job.state for job in queue.search().items] == [JobState.CANCELLED]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a circle", "--steps", "99999"], "'steps': input should be less than or equal to 2000"),
        (["a circle", "--steps", "many"], "'steps': input should be a valid integer"),
        (["  "], "The prompt is empty: type what the picture should show."),
        (["a" * 501], "'prompt': "),
        (["a circle", "--weights", "none"], "has no weights 'none'; choose one of "),
        (["a circle", "--generator", "none"], "There is no generator 'none'; choose one of "),
        (["a circle", "queue.nonsense=1"], "cannot be used: "),
        (["a circle", "--formats", "png,bmp"], "There is no format 'bmp'; choose among png, gif, mp4, webp"),
        (["a circle", "--count", "17"], "--count takes a number from 1 to 16, not '17'."),
        (["a circle", "--preset", "none"], "There is no preset 'none' for these weights: "),
        (["a circle", "--save-preset", " "], "The name of a preset has 1 to 60 letters: type one."),
        (["--like", "README.md"], "This is no PNG, GIF, WebP, MP4 or zip of frames"),
        (["--like", "nowhere.png"], "The file nowhere.png cannot be read: No such file or directory."),
        (["a circle", "--start-image", "gone.png"], "The picture gone.png cannot be read (No such file"),
        (["a circle", "--start-image", "README.md"], "README.md: This is no picture that can be read"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(
    words: list[str], sentence: str, arguments: list[str], queue: Queue
) -> None:
    status, out, error = generate(*words, *arguments)

    assert (status, out) == (2, "")
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert queue.search().total == 0


def test_a_database_of_a_newer_version_is_told(arguments: list[str]) -> None:
    with db.writing(db.open_engine(load(arguments).database_url)) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    status, _, error = generate("a red circle", *arguments)

    assert status == 1
    assert "made by a newer version of this program" in error
    assert len(error.strip().splitlines()) == 1


def test_help_tells_every_parameter_with_its_unit_and_default() -> None:
    status, out, _ = generate("--help")

    assert status == 0
    assert "--learning-rate" in out
    assert "In pixels. Default: 128." in " ".join(out.split())
