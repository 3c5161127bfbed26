"""Sets of weights come from real servers and from files at hand, and leave without harming others."""

import fcntl
import hashlib
import random
import shutil
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.weights.site import Site, open_site
from weights import catalogue
from weights.catalogue import WeightsEntry, WeightsFile
from weights.conversion import read_converted
from weights.download import leftovers, parse_start
from weights.errors import WeightsError
from weights.files import is_installed, known_sha256, record_path, verify
from weights.store import Store, source_names

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "set/vqgan.ckpt"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with open_site() as opened:
        yield opened


def known(*sources: str, path: str = PATH, content: bytes = CONTENT) -> WeightsFile:
    """A file whose author publishes its SHA-256."""
    sha256 = hashlib.sha256(content).hexdigest()
    return WeightsFile(path=path, size=len(content), sha256=sha256, sources=sources)


def unknown(*sources: str, path: str = PATH) -> WeightsFile:
    """A file of which nobody says what is in it."""
    return WeightsFile(path=path, sources=sources)


def entry(*files: WeightsFile, name: str = "set", **more: Any) -> WeightsEntry:
    facts = {"title": name, "draws": "things", "licence": "MIT", "generators": ("brush",), "networks": {}}
    return WeightsEntry(name=name, files=files, **facts | more)


def download(folder: Path, *entries: WeightsEntry) -> list[tuple[str, int, int | None]]:
    """Download the first of the sets; returns the progress told."""
    told: list[tuple[str, int, int | None]] = []
    Store(folder, entries).download(entries[0].name, lambda *now: told.append(now))
    return told


def assert_installed(folder: Path, *entries: WeightsEntry) -> None:
    for one in entries:
        assert is_installed(one, folder)
        verify(one, folder)
        assert not any(trace.exists() for file in one.files for trace in leftovers(folder / file.path))


@pytest.mark.parametrize("make", [known, unknown])
def test_a_set_is_downloaded_and_whole(site: Site, tmp_path: Path, make: Any) -> None:
    wanted = entry(make(site.offer("/vqgan.ckpt", CONTENT)))

    told = download(tmp_path, wanted)

    assert_installed(tmp_path, wanted)
    assert (tmp_path / PATH).read_bytes() == CONTENT
    assert told[0] == (PATH, 0, len(CONTENT))
    assert told[-1] == (PATH, len(CONTENT), len(CONTENT))


def test_what_is_whole_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    wanted = entry(known(site.offer("/vqgan.ckpt", CONTENT)))
    download(tmp_path, wanted)
    asked = list(site.asked)

    download(tmp_path, wanted)

    assert site.asked == asked


def test_what_is_damaged_is_downloaded_again(site: Site, tmp_path: Path) -> None:
    wanted = entry(unknown(site.offer("/vqgan.ckpt", CONTENT)))
    download(tmp_path, wanted)
    (tmp_path / PATH).write_bytes(CONTENT[:-1])

    download(tmp_path, wanted)

    assert_installed(tmp_path, wanted)


@pytest.mark.parametrize("make", [known, unknown])
def test_a_dropped_connection_is_resumed_where_it_broke(site: Site, tmp_path: Path, make: Any) -> None:
    wanted = entry(make(site.offer("/vqgan.ckpt", CONTENT, breaks=[100_000, 200_000])))

    download(tmp_path, wanted)

    assert_installed(tmp_path, wanted)
    assert [range_ for _, range_ in site.asked] == [None, "bytes=100000-", "bytes=200000-"]


@pytest.mark.parametrize("make", [known, unknown])
def test_a_later_command_goes_on_with_what_an_earlier_one_left(site: Site, tmp_path: Path, make: Any) -> None:
    wanted = entry(make(site.offer("/vqgan.ckpt", CONTENT, breaks=[100_000])))
    part, _ = leftovers(tmp_path / PATH)

    class Interrupted(Exception):
        pass

    def interrupt(_path: str, arrived: int, _total: int | None) -> None:
        if arrived == 100_000:
            raise Interrupted

    with pytest.raises(Interrupted):
        Store(tmp_path, [wanted]).download("set", interrupt)
    kept = part.stat().st_size
    site.asked.clear()
    download(tmp_path, wanted)

    assert kept == 100_000
    assert site.asked == [("/vqgan.ckpt", "bytes=100000-")]
    assert_installed(tmp_path, wanted)


@pytest.mark.parametrize("make", [known, unknown])
def test_a_server_that_knows_no_ranges_is_asked_from_the_beginning(
    site: Site, tmp_path: Path, make: Any
) -> None:
    wanted = entry(make(site.offer("/vqgan.ckpt", CONTENT, ranges=False, breaks=[100_000])))

    download(tmp_path, wanted)

    assert_installed(tmp_path, wanted)


def test_pieces_of_two_versions_are_never_joined(site: Site, tmp_path: Path) -> None:
    wanted = entry(unknown(site.offer("/vqgan.ckpt", CONTENT, breaks=[100_000])))

    def withdraw(_path: str, arrived: int, _total: int | None) -> None:
        if arrived == 100_000:
            del site.offers["/vqgan.ckpt"]

    with pytest.raises(WeightsError, match="404"):
        Store(tmp_path, [wanted]).download("set", withdraw)
    other = CONTENT[::-1]
    site.offer("/vqgan.ckpt", other, tag='"2"')
    download(tmp_path, wanted)

    assert site.asked[-1] == ("/vqgan.ckpt", "bytes=100000-")
    assert (tmp_path / PATH).read_bytes() == other


def test_pieces_of_a_file_without_a_version_are_not_joined(site: Site, tmp_path: Path) -> None:
    wanted = entry(unknown(site.offer("/vqgan.ckpt", CONTENT, tag=None, breaks=[100_000])))

    download(tmp_path, wanted)

    assert [range_ for _, range_ in site.asked] == [None, None]
    assert_installed(tmp_path, wanted)


def test_a_part_that_proves_wrong_is_thrown_away_and_fetched_anew(site: Site, tmp_path: Path) -> None:
    wanted = entry(known(site.offer("/vqgan.ckpt", CONTENT)))
    part, _ = leftovers(tmp_path / PATH)
    part.parent.mkdir()
    part.write_bytes(b"\0" * 1000)

    download(tmp_path, wanted)

    assert [range_ for _, range_ in site.asked] == ["bytes=1000-", None]
    assert_installed(tmp_path, wanted)


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 7])
def test_a_part_that_is_complete_or_too_long_ends_well(site: Site, tmp_path: Path, length: int) -> None:
    wanted = entry(known(site.offer("/vqgan.ckpt", CONTENT)))
    part, _ = leftovers(tmp_path / PATH)
    part.parent.mkdir()
    part.write_bytes((CONTENT + bytes(7))[:length])

    download(tmp_path, wanted)

    assert_installed(tmp_path, wanted)


def test_a_wrong_checksum_is_refused_and_what_came_is_deleted(site: Site, tmp_path: Path) -> None:
    wanted = entry(known(site.offer("/vqgan.ckpt", CONTENT[::-1])))

    with pytest.raises(WeightsError, match=r"wrong checksum .* which was deleted"):
        download(tmp_path, wanted)

    assert not list(tmp_path.rglob("*.ckpt*"))


@pytest.mark.parametrize(
    "manner", [{"kind": "text/html"}, {"content": CONTENT + b"more"}, {"content": CONTENT[::-1]}]
)
def test_a_mirror_is_tried_when_the_first_source_gives_something_else(
    site: Site, tmp_path: Path, manner: dict[str, Any]
) -> None:
    bad = site.offer("/bad.ckpt", **{"content": CONTENT} | manner)
    wanted = entry(known(bad, f"{site.address}/gone.ckpt", site.offer("/mirror.ckpt", CONTENT)))

    download(tmp_path, wanted)

    assert [path for path, _ in site.asked] == ["/bad.ckpt", "/gone.ckpt", "/mirror.ckpt"]
    assert_installed(tmp_path, wanted)


def test_a_mirror_goes_on_where_another_broke_off_when_the_checksum_is_known(
    site: Site, tmp_path: Path
) -> None:
    first = site.offer("/first.ckpt", CONTENT, breaks=[100_000, 50_000], ranges=False)
    wanted = entry(known(first, site.offer("/mirror.ckpt", CONTENT)))

    download(tmp_path, wanted)

    assert site.asked[-1] == ("/mirror.ckpt", "bytes=50000-")
    assert_installed(tmp_path, wanted)


def test_every_source_is_named_with_its_reason_and_the_offline_way(site: Site, tmp_path: Path) -> None:
    wanted = entry(known(f"{site.address}/gone.ckpt", site.offer("/page", CONTENT, kind="text/html")))

    with pytest.raises(WeightsError) as refusal:
        download(tmp_path, wanted)

    assert str(refusal.value) == (
        f"The weights 'set' cannot be downloaded, for {PATH} is missing: 127.0.0.1 answered 404 Not Found; "
        "127.0.0.1 sent a page instead of the file; "
        "fetch it elsewhere and run python -m weights import FILE --as set."
    )


def test_without_a_network_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        wanted = entry(known(f"http://127.0.0.1:{nobody.getsockname()[1]}/vqgan.ckpt"))

        with pytest.raises(WeightsError, match=r"'set' .* Connection refused; .* import FILE --as set\.$"):
            download(tmp_path, wanted)


def test_the_first_checksum_is_recorded_and_checked_from_then_on(site: Site, tmp_path: Path) -> None:
    file = unknown(site.offer("/vqgan.ckpt", CONTENT))
    wanted = entry(file)
    download(tmp_path, wanted)
    assert known_sha256(file, tmp_path) == SHA256

    (tmp_path / PATH).write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match="is damaged"):
        verify(wanted, tmp_path)
    site.offer("/vqgan.ckpt", CONTENT[::-1], tag='"2"')
    with pytest.raises(WeightsError, match="wrong checksum"):
        download(tmp_path, wanted)


def test_a_file_put_there_by_hand_is_not_installed_until_it_is_imported(tmp_path: Path) -> None:
    wanted = entry(unknown("http://127.0.0.1/vqgan.ckpt"))
    (tmp_path / "set").mkdir()
    (tmp_path / PATH).write_bytes(CONTENT)

    assert not is_installed(wanted, tmp_path)
    with pytest.raises(WeightsError, match=r"by hand; run python -m weights import .* --as set\.$"):
        verify(wanted, tmp_path)
    Store(tmp_path, [wanted]).import_files([tmp_path / PATH], "set")
    assert_installed(tmp_path, wanted)


@given(content=st.binary())
def test_a_damaged_record_counts_as_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("weights")
    (folder / "set").mkdir()
    record_path(folder / PATH).write_bytes(content)

    assert known_sha256(unknown(), folder) is None
    shutil.rmtree(folder)


def test_a_full_disk_is_told_before_anything_is_fetched(site: Site, tmp_path: Path) -> None:
    source = site.offer("/vqgan.ckpt", CONTENT)
    wanted = entry(known(source).model_copy(update={"size": 10**18}))

    with pytest.raises(WeightsError, match=r"too full: 1000000000\.0 GB are needed and .* free\.$"):
        download(tmp_path, wanted)
    assert site.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_fills_up_meanwhile_is_told(site: Site, tmp_path: Path) -> None:
    wanted = entry(unknown(site.offer("/vqgan.ckpt", CONTENT)))
    part, _ = leftovers(tmp_path / PATH)
    part.parent.mkdir()
    part.symlink_to("/dev/full")

    with pytest.raises(
        WeightsError, match=r"cannot be written \(No space left on device\); make room and run it again\.$"
    ):
        download(tmp_path, wanted)


def test_two_downloads_of_one_file_do_not_mix(site: Site, tmp_path: Path) -> None:
    wanted = entry(known(site.offer("/vqgan.ckpt", CONTENT)))
    part, _ = leftovers(tmp_path / PATH)
    part.parent.mkdir()
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WeightsError, match="Another process is downloading"):
            download(tmp_path, wanted)


def test_a_file_that_two_sets_share_is_downloaded_once(site: Site, tmp_path: Path) -> None:
    shared = known(site.offer("/clip", CONTENT), path="clip/model.safetensors")
    first, second = (
        entry(known(site.offer(f"/{name}", CONTENT), path=f"{name}/vqgan.ckpt"), shared, name=name)
        for name in ("first", "second")
    )

    download(tmp_path, first)
    download(tmp_path, second)

    assert [path for path, _ in site.asked] == ["/first", "/clip", "/second"]
    assert_installed(tmp_path, first, second)


def test_removing_keeps_what_other_installed_sets_draw_with(site: Site, tmp_path: Path) -> None:
    shared = known(site.offer("/clip", CONTENT), path="clip/model.safetensors")
    clip = entry(shared, name="clip", generators=())
    first, second = (
        entry(unknown(site.offer(f"/{name}", CONTENT), path=f"{name}/vqgan.ckpt"), shared, name=name)
        for name in ("first", "second")
    )
    store = Store(tmp_path, (first, second, clip))
    for name in ("first", "second"):
        store.download(name, lambda *_: None)

    assert store.remove("first") == ["first/vqgan.ckpt"]
    assert_installed(tmp_path, second)
    with pytest.raises(WeightsError, match="'clip' stay: 'second' draws with them; remove that first"):
        store.remove("clip")
    assert store.remove("second") == ["second/vqgan.ckpt", "clip/model.safetensors"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WeightsError, match="'first' are not installed"):
        store.remove("first")


def test_a_conversion_is_no_part_of_its_set_but_leaves_with_it(site: Site, tmp_path: Path) -> None:
    buffer = BytesIO()
    torch.save({"w": torch.ones(100)}, buffer)
    wanted = entry(unknown(site.offer("/vqgan.ckpt", buffer.getvalue())))
    download(tmp_path, wanted)
    store = Store(tmp_path, [wanted])
    arrived = store.arrived(wanted)

    read_converted(tmp_path / PATH, "")

    assert list((tmp_path / "set").glob("*/*.safetensors"))
    assert_installed(tmp_path, wanted)
    assert store.arrived(wanted) == arrived
    assert store.remove("set") == [PATH]
    assert list(tmp_path.iterdir()) == []


def test_what_ships_is_neither_removed_nor_downloaded(tmp_path: Path) -> None:
    store = Store(tmp_path, [entry(known())])

    with pytest.raises(WeightsError, match="'set' ship with the project and stay"):
        store.remove("set")
    with pytest.raises(WeightsError, match=r"vqgan\.ckpt ships with the project"):
        store.download("set", lambda *_: None)


def test_an_unknown_set_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There are no weights 'x'; choose one of set"):
        Store(tmp_path, [entry()]).entry("x")
    with pytest.raises(WeightsError, match="There are no weights 'x'; choose one of sandbox, "):
        catalogue.entry("x")
    assert catalogue.entry("sandbox") is catalogue.entries()[0]


def saved(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    (folder / "saved").mkdir(exist_ok=True)
    path = folder / "saved" / name
    path.write_bytes(content)
    return path


def test_a_file_with_a_known_checksum_is_imported_whatever_its_name(tmp_path: Path) -> None:
    wanted, other = entry(known()), entry(known(path="other/x", content=b"other"), name="other")
    store = Store(tmp_path / "weights", [other, wanted])

    assert store.import_files([saved(tmp_path, "download (1)")]) == [PATH]
    assert_installed(tmp_path / "weights", wanted)


def test_a_file_is_imported_under_the_name_that_its_source_gives_it(tmp_path: Path) -> None:
    wanted = entry(
        unknown("http://127.0.0.1/d/1/files/?p=%2Fckpts%2Flast.ckpt&dl=1"),
        unknown("http://127.0.0.1/d/1/files/?p=%2Fconfigs%2Fmodel.yaml&dl=1", path="set/vqgan.yaml"),
    )
    files = [saved(tmp_path, "last.ckpt"), saved(tmp_path, "model.yaml", b"model: {}")]

    Store(tmp_path / "weights", [wanted]).import_files(files)

    assert_installed(tmp_path / "weights", wanted)
    assert (tmp_path / "weights/set/vqgan.yaml").read_bytes() == b"model: {}"


def test_a_name_that_several_sets_use_needs_the_set(tmp_path: Path) -> None:
    sets = [
        entry(unknown("http://127.0.0.1/last.ckpt", path=f"{name}/vqgan.ckpt"), name=name) for name in "ab"
    ]
    store = Store(tmp_path / "weights", sets)
    file = saved(tmp_path, "last.ckpt")

    with pytest.raises(WeightsError, match=r"could be a/vqgan\.ckpt or b/vqgan\.ckpt: .* --as"):
        store.import_files([file])
    assert store.import_files([file], "b") == ["b/vqgan.ckpt"]
    renamed = saved(tmp_path, "faces.ckpt")
    (tmp_path / "weights/b/vqgan.ckpt.record.json").unlink()
    assert store.import_files([renamed], "b") == ["b/vqgan.ckpt"]


def test_what_belongs_nowhere_is_refused_and_nothing_is_imported(tmp_path: Path) -> None:
    store = Store(tmp_path / "weights", [entry(known())])
    good = saved(tmp_path, "good")

    with pytest.raises(WeightsError, match="is not the known .* its content differs"):
        store.import_files([good, saved(tmp_path, "vqgan.ckpt", CONTENT[::-1])])
    with pytest.raises(WeightsError, match="is no file of any set"):
        store.import_files([good, saved(tmp_path, "letter.txt", b"Dear")])
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        store.import_files([good, tmp_path / "gone"])
    with pytest.raises(WeightsError, match="cannot be read: Is a directory"):
        store.import_files([good, tmp_path])
    assert not (tmp_path / "weights").exists()


@given(name=st.text(min_size=1).filter(lambda name: "/" not in name))
def test_a_name_is_found_in_an_address_however_it_is_written(name: str) -> None:
    written = quote(name, safe="", errors="replace")
    for address in (f"https://x/a/{written}", f"https://x/files/?p=%2Fckpts%2F{written}&dl=1"):
        assert name.encode(errors="replace").decode() in source_names(address)


@given(header=st.text())
def test_any_content_range_is_read_or_refused(header: str) -> None:
    assert parse_start(header) is None or header.strip().startswith("bytes ")


@given(start=st.integers(0, 10**17), more=st.integers(0, 10**9), total=st.booleans())
def test_a_content_range_says_where_it_starts(start: int, more: int, total: bool) -> None:
    size = start + more + 1 if total else "*"
    assert parse_start(f"bytes {start}-{start + more}/{size}") == start
