"""Downloads in the background: one after another, to be looked at, stopped and gone on with."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.processes import wait_until
from tests.weights.site import Site, open_site
from weights.catalogue import WeightsEntry, WeightsFile
from weights.desk import Status, WeightsDesk
from weights.errors import WeightsError
from weights.files import verify
from weights.store import Store

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with open_site() as opened:
        yield opened


def entry(name: str, source: str, **more: object) -> WeightsEntry:
    """A set of one file; ``more`` may say of which sets it consists besides."""
    file = WeightsFile(path=f"{name}/vqgan.ckpt", size=len(CONTENT), sources=(source,))
    facts = {"title": name.title(), "draws": "things", "licence": "MIT", "generators": ("brush",)}
    return WeightsEntry.model_validate({"name": name, "files": (file,), "networks": {}, **facts, **more})


def desk_of(folder: Path, *entries: WeightsEntry) -> WeightsDesk:
    return WeightsDesk(Store(folder, entries))


def wait(desk: WeightsDesk, name: str) -> Status:
    wait_until(lambda: not desk.status(name).downloading, f"the download of {name} ended")
    return desk.status(name)


def test_a_set_arrives_in_the_background(site: Site, tmp_path: Path) -> None:
    wanted = entry("first", site.offer("/first", CONTENT))
    desk = desk_of(tmp_path, wanted)
    assert (desk.status("first").installed, desk.status("first").arrived) == (False, 0)

    desk.download("first")
    done = wait(desk, "first")

    assert (done.installed, done.problem, done.arrived) == (True, None, len(CONTENT))
    verify(wanted, tmp_path)
    desk.verify("first")


def test_a_download_in_work_is_seen_stopped_and_gone_on_with(site: Site, tmp_path: Path) -> None:
    desk = desk_of(tmp_path, entry("first", site.offer("/first", CONTENT, stalls_at=200_000)))
    desk.download("first")
    desk.download("first")
    wait_until(lambda: desk.status("first").arrived == 200_000, "the download stalled")
    assert desk.status("first").downloading
    with pytest.raises(WeightsError, match="being downloaded now: wait for that, or stop it first"):
        desk.remove("first")

    desk.stop("first")
    stopped = desk.status("first")
    assert (stopped.downloading, stopped.installed, stopped.problem) == (False, False, None)
    site.offers["/first"].stalls_at = None
    site.closing.set()
    desk.download("first")

    assert wait(desk, "first").installed
    assert {asked for _, asked in site.asked[1:]} == {"bytes=200000-"}


def test_what_was_asked_later_waits_and_may_be_stopped_before_it_begins(site: Site, tmp_path: Path) -> None:
    sets = [entry(name, site.offer(f"/{name}", CONTENT)) for name in ("first", "second", "third")]
    site.offers["/first"].stalls_at = 100_000
    desk = desk_of(tmp_path, *sets)
    for name in ("first", "second", "third"):
        desk.download(name)
    wait_until(lambda: desk.status("first").arrived == 100_000, "the download stalled")
    assert [status.downloading for status in desk.sets()] == [True, True, True]

    desk.stop("second")
    site.offers["/first"].stalls_at = None
    site.closing.set()

    assert wait(desk, "first").installed
    assert wait(desk, "third").installed
    assert not desk.status("second").installed
    assert "/second" not in {path for path, _ in site.asked}


def test_why_a_download_failed_is_kept_until_the_next(site: Site, tmp_path: Path) -> None:
    desk = desk_of(tmp_path, entry("first", f"{site.address}/first"))
    desk.download("first")
    failed = wait(desk, "first")
    assert not failed.installed
    assert failed.problem is not None
    assert "The weights 'first' cannot be downloaded" in failed.problem
    assert "404" in failed.problem

    site.offer("/first", CONTENT)
    desk.download("first")
    assert wait(desk, "first").problem is None


def test_a_folder_that_cannot_be_written_is_told(site: Site, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("in the way")
    desk = desk_of(tmp_path / "weights", entry("first", site.offer("/first", CONTENT)))
    desk.download("first")
    assert "cannot be written (File exists); check the folder." in str(wait(desk, "first").problem)


def test_verifying_reads_again_what_looks_unchanged(site: Site, tmp_path: Path) -> None:
    desk = desk_of(tmp_path, entry("first", site.offer("/first", CONTENT)))
    desk.download("first")
    wait(desk, "first")
    desk.verify("first")
    path = tmp_path / "first/vqgan.ckpt"
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WeightsError, match="is damaged"):
        desk.verify("first")


def test_files_at_hand_are_imported_and_removed(site: Site, tmp_path: Path) -> None:
    desk = desk_of(tmp_path / "weights", entry("first", f"{site.address}/last.ckpt"))
    (tmp_path / "last.ckpt").write_bytes(CONTENT)
    assert desk.import_files([tmp_path / "last.ckpt"], "first") == ["first/vqgan.ckpt"]
    assert desk.status("first").installed
    assert desk.remove("first") == ["first/vqgan.ckpt"]
    assert desk.status("first").arrived == 0


def test_parts_know_the_sets_that_need_them(tmp_path: Path) -> None:
    clip = entry("clip", "http://127.0.0.1/clip", generators=())
    desk = desk_of(tmp_path, entry("first", "http://127.0.0.1/first", parts=("clip",)), clip)
    assert [status.part_of for status in desk.sets()] == [(), ("First",)]


def test_an_unknown_set_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, entry("first", "http://127.0.0.1/first"))
    for ask in (desk.status, desk.download, desk.stop, desk.verify, desk.remove):
        with pytest.raises(WeightsError, match="There are no weights 'x'; choose one of first"):
            ask("x")
