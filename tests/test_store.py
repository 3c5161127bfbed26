import errno
import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import fsspec
import pytest

from store import CHUNK_BYTES, SLOWEST, ArtifactNotFound, ArtifactStore, StoreError
from tests.conftest import everywhere
from tests.jobs.black_hole import black_hole
from tests.jobs.processes import wait_until
from tests.object_store import READER, ObjectStore

INLINE = 'inline; filename="red.png"'


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def names(store: ArtifactStore) -> list[str]:
    return [file.name for folder in ("jobs", "uploads", "aside") for file in store.files(folder)]


@everywhere
def test_what_is_published_is_read_by_its_full_name(store: ArtifactStore) -> None:
    name = store.publish("job1", "frames/000001.png", b"first")

    assert name == "jobs/job1/frames/000001.png"
    assert store.read(name) == b"first"
    assert store.exists(name)
    assert names(store) == [name], "nothing is left aside"


@everywhere
def test_publishing_again_replaces(store: ArtifactStore) -> None:
    store.publish("job1", "a", b"first")

    assert store.read(store.publish("job1", "a", b"second")) == b"second"


def test_any_filesystem_serves_as_well() -> None:
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


@everywhere
def test_a_missing_artifact_is_told(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound, match="There is no artifact jobs/job1/a"):
        store.read("jobs/job1/a")


@everywhere
def test_deleting_a_job_spares_the_others(store: ArtifactStore) -> None:
    gone, kept = store.publish("job1", "a", b""), store.publish("job2", "a", b"")

    store.delete_job("job1")

    assert (store.exists(gone), store.exists(kept)) == (False, True)


def test_many_may_remove_a_job_at_the_same_time(tmp_path: Path) -> None:
    """As idle executors do when one ended; each is told that it is gone."""
    store = ArtifactStore(str(tmp_path))
    frames = tmp_path / "jobs" / "job1" / "frames"
    frames.mkdir(parents=True)
    for number in range(5000):
        (frames / f"{number:06d}.png").touch()

    with ThreadPoolExecutor(4) as crew:
        assert list(crew.map(store.delete_job, ["job1"] * 4)) == [None] * 4

    assert files(tmp_path) == []


@everywhere
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


def test_names_are_flushed_with_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    flush = os.fsync

    def noting(descriptor: int) -> None:
        flush(descriptor)
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", noting)
    root = tmp_path / "artifacts"

    ArtifactStore(str(root)).publish("job1", "frames/1.png", b"frame")

    assert flushed[0].startswith(f"{root}/aside/"), "the bytes come before the name"
    assert flushed[1:] == [f"{root}/jobs/job1/frames", f"{root}/jobs/job1", f"{root}/jobs", f"{root}"]


@everywhere
def test_a_file_is_told_of_and_read_in_pieces(store: ArtifactStore) -> None:
    data = os.urandom(2 * CHUNK_BYTES + 500)
    name = store.publish("job1", "a", data)

    about = store.look(name)

    assert (about.name, about.size) == (name, len(data))
    assert abs(about.modified - store.now()) < timedelta(minutes=1)
    assert b"".join(store.stream(name, 0, about.size)) == data
    assert max(map(len, store.stream(name, 0, about.size))) == CHUNK_BYTES
    assert b"".join(store.stream(name, CHUNK_BYTES - 7, CHUNK_BYTES + 9)) == data[CHUNK_BYTES - 7 :][:16]
    assert store.publish("job1", "a", b"other") == name
    assert store.look(name).tag != about.tag
    for missing in ("jobs/job1", "jobs/job1/b"):
        with pytest.raises(ArtifactNotFound):
            store.look(missing)
    with pytest.raises(ArtifactNotFound):
        b"".join(store.stream("jobs/job2/a", 0, 5))
    with pytest.raises(StoreError, match="jobs/job1/a ends early"):
        b"".join(store.stream(name, 0, 6))


@everywhere
def test_what_another_process_writes_and_removes_is_seen_at_once(
    store: ArtifactStore, tmp_path: Path, object_store: ObjectStore
) -> None:
    other = same_place(store, object_store)
    assert store.files("jobs") == []
    assert not store.exists("jobs/job1/a")

    other.publish("job1", "a", b"first")
    assert [file.name for file in store.files("jobs")] == ["jobs/job1/a"]
    assert store.exists("jobs/job1/a")
    other.publish("job1", "b", b"")
    other.delete("jobs/job1/a")
    assert [file.name for file in store.files("jobs")] == ["jobs/job1/b"]
    assert not store.exists("jobs/job1/a")
    store.delete("jobs/job1/a")


def same_place(store: ArtifactStore, objects: ObjectStore) -> ArtifactStore:
    """Another process' view: nothing is shared in memory."""
    url = store._filesystem.unstrip_protocol(store._root)
    options = objects.options() if url.startswith("s3") else {}
    return ArtifactStore(url, {**options, "skip_instance_cache": True})


@everywhere
def test_publishers_of_one_name_never_show_half_a_file(
    store: ArtifactStore, object_store: ObjectStore
) -> None:
    versions = [bytes([number]) * (300_000 + number) for number in range(8)]
    name = store.publish("job1", "a", versions[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(store.read(name))

    with ThreadPoolExecutor(6) as readers, ThreadPoolExecutor(4) as publishers:
        reading = [readers.submit(read) for _ in range(2)]
        publishing = [publishers.submit(store.publish, "job1", "a", version) for version in versions * 4]
        for one in publishing:
            one.result()
        done.set()
        for one in reading:
            one.result()

    assert seen <= set(versions)
    assert store.read(name) in versions
    assert names(store) == [name]


@pytest.mark.parametrize("size", [200_000, 120_000_000])
def test_an_upload_that_breaks_off_leaves_nothing_to_be_seen(
    size: int, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.PATIENCE_SECONDS", 3.0)
    whole = ArtifactStore(place := object_store.place(), object_store.options())
    with breaking_off(object_store, after=size // 3) as endpoint:
        cut = ArtifactStore(place, object_store.options(endpoint=endpoint))
        with pytest.raises(StoreError, match="cannot be written .*see that it runs"):
            cut.publish("job1", "a", bytes(size))

    assert names(whole) == []
    assert not whole.exists("jobs/job1/a")


@contextmanager
def breaking_off(objects: ObjectStore, after: int) -> Iterator[str]:
    """The address of a way to the store on which every connection is cut when so many bytes have gone by."""
    host, port = objects.endpoint.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_cut_all, args=[listening, (host, int(port)), after])
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _cut_all(listening: socket.socket, target: tuple[str, int], after: int) -> None:
    allowance = [after]
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        server = socket.create_connection(target)
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=_pass_on, args=[one, other, allowance], daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket, allowance: list[int]) -> None:
    with one, other, suppress(OSError):
        try:
            while allowance[0] > 0 and (data := one.recv(65536)):
                allowance[0] -= len(data)
                other.sendall(data)
        finally:
            one.shutdown(socket.SHUT_RDWR)
            other.shutdown(socket.SHUT_RDWR)


USES: list[Callable[[ArtifactStore], object]] = [
    lambda store: store.publish("job1", "a", b""),
    lambda store: store.read("jobs/job1/a"),
    lambda store: store.exists("jobs/job1/a"),
    lambda store: store.files("jobs"),
    lambda store: store.delete("jobs/job1/a"),
    lambda store: store.delete_job("job1"),
    lambda store: store.check(),
]


def test_an_object_store_that_is_down_is_told_soon() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        options = {"endpoint_url": f"http://127.0.0.1:{nobody.getsockname()[1]}", "key": "k", "secret": "s"}
        store = ArtifactStore("s3://studio/down", options)
        for use in (USES[0], USES[2]):
            with pytest.raises(StoreError, match="store s3://studio/down cannot be .*see that it runs"):
                use(store)


def test_an_object_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for patience in ("PATIENCE_SECONDS", "LONG_SECONDS"):
        monkeypatch.setattr(f"store.{patience}", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = {"endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}", "key": "k", "secret": "s"}
        store = ArtifactStore("s3://studio/silent", options)
        for use in USES:
            with pytest.raises(StoreError, match="no answer in time.*see that it runs"):
                use(store)


def test_a_large_file_has_the_time_that_a_slow_way_takes(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.PATIENCE_SECONDS", 1.0)
    host, port = object_store.endpoint.removeprefix("http://").split(":")
    place = object_store.place()
    with black_hole(int(port)) as way:
        store = ArtifactStore(place, object_store.options(endpoint=f"http://{host}:{way.port}"))
        store.check()
        for size in (100, 10 * SLOWEST):
            way.swallow()
            healing = threading.Timer(3, way.heal)
            healing.start()
            with nullcontext() if size > SLOWEST else pytest.raises(StoreError, match="no answer in time"):
                store.publish("job", f"{size}", bytes(size))
            healing.join()

    assert len(ArtifactStore(place, object_store.options()).read(f"jobs/job/{10 * SLOWEST}")) == 10 * SLOWEST


def test_an_object_store_that_refuses_is_told_with_what_to_check(object_store: ObjectStore) -> None:
    place = object_store.place()
    name = ArtifactStore(place, object_store.options()).publish("job1", "a", b"whole")
    reader = ArtifactStore(place, object_store.options(READER))
    stranger = ArtifactStore(place, object_store.options({"key": "owner", "secret": "a wrong guess"}))

    assert reader.read(name) == b"whole"
    for use in (USES[0], USES[4], USES[5], USES[6]):
        with pytest.raises(StoreError, match=r"check the key and the secret \(artifact_options\)"):
            use(reader)
    for use in USES[:4]:
        with pytest.raises(StoreError, match=r"check the key and the secret \(artifact_options\)") as refusal:
            use(stranger)
        assert "wrong guess" not in str(refusal.value)
    assert reader.read(name) == b"whole"


def test_a_bucket_that_is_missing_is_told_and_not_made(object_store: ObjectStore) -> None:
    store = ArtifactStore("s3://no-such-bucket/place", object_store.options())

    for use in (USES[0], USES[6]):
        with pytest.raises(StoreError, match="bucket does not exist.*check its URL"):
            use(store)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://studio", {"key": "k", "secret": "hush-hush", "nonsense": 1}),
        ("ftp://ann:hush-hush@127.0.0.1:1/", {}),
        ("nosuchkind://ann:hush-hush@somewhere", {}),
        ("s3://studio", {"client_kwargs": {"aws_secret_access_key": "hush-hush"}, "key": "k", "secret": "s"}),
    ],
)
def test_secrets_are_never_told(
    url: str, options: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError) as refusal:
        ArtifactStore(url, options).check()

    assert "hush-hush" not in str(refusal.value)
    assert "hush-hush" not in caplog.text


def test_a_secret_that_was_read_as_a_number_is_told() -> None:
    with pytest.raises(StoreError, match="number as 'secret': write it between quotes"):
        ArtifactStore("s3://studio", {"key": "k", "secret": 83})


def test_a_signed_link_opens_one_file_for_a_while(object_store: ObjectStore) -> None:
    store = ArtifactStore(object_store.place(), object_store.options())
    name = store.publish("job1", "picture.png", b"png")

    link = store.signed_link(name, seconds=60, kind="image/png", disposition=INLINE)
    with urllib.request.urlopen(link, timeout=30) as answer:
        assert answer.read() == b"png"
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Disposition"] == INLINE
    for changed in (link.replace("picture.png", "other.png"), link.split("?")[0]):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(changed, timeout=30)
    short = store.signed_link(name, seconds=1, kind="image/png", disposition=INLINE)
    wait_until(lambda: not opens(short), "the link has expired", 30)


def opens(link: str) -> bool:
    with suppress(urllib.error.HTTPError), urllib.request.urlopen(link, timeout=30):
        return True
    return False


def test_a_folder_gives_no_signed_links(store: ArtifactStore) -> None:
    name = store.publish("job1", "picture.png", b"png")

    assert store.signed_link(name, seconds=60, kind="image/png", disposition=INLINE) is None
