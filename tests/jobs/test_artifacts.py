import errno
from pathlib import Path

import fsspec
import pytest

from jobs.artifacts import ArtifactNotFound, ArtifactStore, StoreError


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_is_published_is_read_by_its_full_name(store: ArtifactStore, tmp_path: Path) -> None:
    name = store.publish("job1", "frames/000001.png", b"first")

    assert name == "jobs/job1/frames/000001.png"
    assert store.read(name) == b"first"
    assert store.exists(name)
    assert files(tmp_path / "artifacts") == [name], "nothing is left aside"


def test_publishing_again_replaces(store: ArtifactStore) -> None:
    store.publish("job1", "a", b"first")

    assert store.read(store.publish("job1", "a", b"second")) == b"second"


def test_an_object_store_serves_as_well() -> None:
    store = ArtifactStore("memory://artifacts")

    name = store.publish("job1", "picture.png", b"png")

    assert store.read(name) == b"png"
    assert fsspec.filesystem("memory").cat(f"/artifacts/{name}") == b"png"
    store.delete_job("job1")
    assert not store.exists(name)


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a/..", "a//b", ".hidden", "a\\b", "a\n", "a/", "ä"]
)
def test_names_never_lead_out_of_the_jobs_folder(store: ArtifactStore, name: str) -> None:
    for use in (
        lambda: store.publish("job1", name, b""),
        lambda: store.read(name),
        lambda: store.exists(name),
    ):
        with pytest.raises(ValueError, match="cannot be the name of an artifact"):
            use()


@pytest.mark.parametrize("job_id", ["", "..", "a/b", ".", "a" * 65])
def test_job_ids_never_lead_out_of_the_store(store: ArtifactStore, job_id: str) -> None:
    for use in (lambda: store.publish(job_id, "a", b""), lambda: store.delete_job(job_id)):
        with pytest.raises(ValueError, match="cannot be the id of a job"):
            use()


def test_a_missing_artifact_is_told(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound, match="There is no artifact jobs/job1/a"):
        store.read("jobs/job1/a")


def test_deleting_a_job_spares_the_others(store: ArtifactStore) -> None:
    gone, kept = store.publish("job1", "a", b""), store.publish("job2", "a", b"")

    store.delete_job("job1")

    assert (store.exists(gone), store.exists(kept)) == (False, True)


def test_folders_of_a_job_are_deleted_alone(store: ArtifactStore) -> None:
    frame, picture = store.publish("job1", "frames/1.png", b""), store.publish("job1", "picture.png", b"")

    store.delete_job("job1", "frames", "live")

    assert (store.exists(frame), store.exists(picture)) == (False, True)


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "artifacts").touch()  # a file where the folder should be
    store = ArtifactStore(str(tmp_path / "artifacts"))

    for use in (lambda: store.publish("job1", "a", b""), store.check):
        with pytest.raises(StoreError, match="cannot be written .*free space, or check its rights"):
            use()


def test_a_full_disk_is_told_and_leaves_no_part_of_a_file(small_disk: Path) -> None:
    store = ArtifactStore(str(small_disk))
    name = store.publish("job1", "a", b"whole")

    with pytest.raises(StoreError, match="No space left on device") as caught:
        store.publish("job1", "a", bytes(2_000_000))

    assert caught.value.errno == errno.ENOSPC
    assert store.read(name) == b"whole"
    assert files(small_disk) == [name]
    store.check()


def test_an_unknown_kind_of_store_is_told() -> None:
    with pytest.raises(StoreError, match="cannot be opened .*check artifact_url"):
        ArtifactStore("nosuchkind://somewhere")
