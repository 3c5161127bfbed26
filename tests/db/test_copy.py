"""``python -m db copy`` as people run it: all arrives, and the studio goes on at its new place."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command as alembic
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, inspect, select

import db
from db import copying, tables
from jobs.queue import Queue
from jobs.records import JobState, Result, Verdict
from jobs.votes import Votes
from settings import ROOT
from store import ArtifactStore
from tests.conftest import NewDatabase
from tests.object_store import READER, ObjectStore
from tests.postgresql import Cluster

PROMPT = "ein grüner Kreis \N{ARTIST PALETTE}\n'\"; --"
SPEC = {"prompt": PROMPT, "weights": "sandbox", "like": ["a", None], "x": 0.1}


@pytest.fixture
def source(new_sqlite: NewDatabase, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "source"
    folder.mkdir()
    with new_sqlite(folder) as url:
        yield url


@pytest.fixture
def target(cluster: Cluster) -> Iterator[str]:
    with cluster.database(migrated=False) as url:
        yield url


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "db", *arguments]


def copy(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("copy", *arguments), cwd=ROOT, capture_output=True, text=True, env=os.environ | environment
    )


def copy_well(*arguments: str, **environment: str) -> str:
    done = copy(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy_refused(*arguments: str, **environment: str) -> str:
    done = copy(*arguments, **environment)
    assert done.returncode == 1, done.stdout
    sentence = done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    return sentence


def stores(source: object, target: object) -> tuple[str, ...]:
    return "--artifacts-from", str(source), "--artifacts-to", str(target)


def as_settings(url: str, options: dict[str, str]) -> dict[str, str]:
    """The settings, as the environment, of a studio with that store."""
    named = {f"STUDIO_ARTIFACT_OPTIONS__{name.upper()}": value for name, value in options.items()}
    return {"STUDIO_ARTIFACT_URL": url, **named}


def as_variables(options: dict[str, str]) -> dict[str, str]:
    """The variables that every S3 client takes them from."""
    names = {
        "endpoint_url": "AWS_ENDPOINT_URL",
        "key": "AWS_ACCESS_KEY_ID",
        "secret": "AWS_SECRET_ACCESS_KEY",
    }
    return {names[name]: value for name, value in options.items()}


def make_older(url: str) -> None:
    """Bring a database back to the tables of the version before."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "db" / "migrations"))
    with db.writing(db.open_engine(url)) as connection:
        config.attributes["connection"] = connection
        alembic.downgrade(config, "-1")


def columns(url: str) -> set[str]:
    with db.reading(db.open_engine(url)) as connection:
        return {column["name"] for column in inspect(connection).get_columns("jobs")}


def open_queue(url: str) -> Queue:
    return Queue(db.open_engine(url), lease_seconds=30, max_attempts=3, max_waiting_per_person=100_000)


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with db.reading(db.open_engine(url)) as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in copying.TABLES
        }


def live_in(url: str, store: ArtifactStore) -> None:
    """A studio with something of everything that people do."""
    queue = open_queue(url)
    queue.enqueue_all("numpy", [SPEC] * 6, submitter="Ömer")
    queue.enqueue("numpy", SPEC, submitter="ann", priority=5)
    for number in range(3):
        claim = queue.claim("executor")
        assert claim is not None
        data = bytes([number]) * 3_000_000
        names = [store.publish(claim.job.id, name, data) for name in ("a.png", "a.gif")]
        queue.finish(claim, Result(*names, 1.25, {"score": 0.1 + 0.2}, 64, 48))
    failed = queue.claim("executor")
    assert failed is not None
    queue.fail(failed, "It cannot be drawn.")
    queue.claim("executor that goes on meanwhile")
    low, high, _ = (job.id for job in queue.search(state=JobState.SUCCEEDED).items)
    Votes(db.open_engine(url)).cast("bob", low, high, Verdict.NEITHER)


def test_a_living_studio_moves_to_postgresql_and_back_whole(source: str, target: str, tmp_path: Path) -> None:
    places = [str(tmp_path / name) for name in ("files", "copied files", "files again")]
    live_in(source, ArtifactStore(places[0]))
    back = f"sqlite:///{tmp_path}/back.db"

    told = copy_well(source, target, *stores(*places[:2]))
    copy_well(target, back, *stores(*places[1:]))

    assert content(source) == content(target) == content(back)
    assert re.search(r"^jobs +7 +7 +[0-9a-f]{16}$", told, re.MULTILINE)
    assert re.search(r"^files +6 +6 +each the same, 18.0 MB$", told, re.MULTILINE)
    for queue in (open_queue(url) for url in (source, target, back)):
        for job in queue.search(state=JobState.SUCCEEDED).items:
            assert job.result is not None
            for store in map(ArtifactStore, places):
                assert store.read(job.result.image) == ArtifactStore(places[0]).read(job.result.image)


def test_the_queue_goes_on_in_the_copy(source: str, target: str, tmp_path: Path) -> None:
    live_in(source, ArtifactStore(str(tmp_path / "files")))
    copy_well(source, target)

    for url in (source, target):
        queue = open_queue(url)
        queue.enqueue("numpy", SPEC, submitter="new")
        assert [queue.claim("executor").job.submitter for _ in range(3)] == ["new", "Ömer", "Ömer"]
    highest = [max(row[0] for row in content(url)["jobs"]) for url in (source, target)]
    assert highest == [8, 8], "new jobs are numbered after the copied ones"


def test_a_copy_that_is_killed_goes_on_and_ends_the_same(source: str, target: str) -> None:
    queue = open_queue(source)
    queue.enqueue_all("numpy", [SPEC] * 12_000, submitter="ann")
    db.migrate(target)

    process = subprocess.Popen(command("copy", source, target), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (held := open_queue(target).counts().waiting) >= 1000:
        assert time.monotonic() < deadline
    process.kill()
    process.wait()
    held = open_queue(target).counts().waiting
    assert held < 12_000, "it was killed on its way"
    queue.cancel(queue.search(per_page=1).items[0].id)  # life goes on meanwhile

    told = copy_well(source, target)

    assert content(source) == content(target)
    assert re.search(r"^jobs +12,000 +12,000 +[0-9a-f]{16}$", told, re.MULTILINE)


def test_a_second_copy_brings_what_changed_since(source: str, target: str, tmp_path: Path) -> None:
    places = [str(tmp_path / name) for name in ("files", "copied files")]
    live_in(source, ArtifactStore(places[0]))
    arguments = (source, target, *stores(*places))
    copy_well(*arguments)
    queue = open_queue(source)
    queue.cancel(queue.search(state=JobState.QUEUED).items[0].id)
    queue.enqueue("numpy", SPEC, submitter="new")
    damaged = ArtifactStore(places[1])
    name = queue.search(state=JobState.SUCCEEDED).items[0].result.image
    damaged.put(name, b"x" * 3_000_000)  # of the same size

    copy_well(*arguments)

    assert content(source) == content(target)
    assert damaged.read(name) == ArtifactStore(places[0]).read(name)


def test_a_studio_of_its_own_is_no_target(source: str, target: str) -> None:
    db.migrate(target)
    open_queue(source).enqueue("numpy", SPEC, submitter="ann")
    other = open_queue(target).enqueue("numpy", SPEC, submitter="bob")

    refused = copy(source, target)

    assert refused.returncode == 1
    assert "holds 1 jobs that" in refused.stderr
    assert "choose an empty database" in refused.stderr
    assert [row[1] for row in content(target)["jobs"]] == [other.id]


def test_a_number_that_was_given_again_is_another_job(source: str, target: str) -> None:
    """SQLite gives the number of a deleted job to the next one."""
    open_queue(source).enqueue("numpy", SPEC, submitter="ann")
    db.migrate(target)
    engines = db.open_engine(source), db.open_engine(target)
    copying.copy_rows(*engines, lambda _rows: None)  # and not noted as complete
    with db.writing(engines[0]) as connection:
        connection.execute(delete(tables.jobs))
    again = open_queue(source).enqueue("numpy", SPEC, submitter="bob")

    copy_well(source, target)

    assert [row[:2] for row in content(target)["jobs"]] == [(1, again.id)]


def test_files_that_results_name_and_nobody_has_are_told(source: str, target: str, tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "files"))
    live_in(source, store)
    done = open_queue(source).search(state=JobState.SUCCEEDED).items[0]
    assert done.result is not None
    store.delete(done.result.image)

    told = copy_refused(source, target, *stores(tmp_path / "files", tmp_path / "copy"))

    assert "1 files that results name are not in the source's store" in told


def test_what_the_target_cannot_hold_is_told(source: str, target: str) -> None:
    open_queue(source).enqueue("numpy", SPEC, submitter="x" * 200)

    told = copy(source, target)

    assert told.returncode == 1
    assert "cannot hold what it was given: value too long" in told.stderr
    assert told.stderr.count("Traceback") == 0


def test_a_source_that_is_not_there_is_refused_and_not_made(target: str, tmp_path: Path) -> None:
    told = copy_refused(f"sqlite:///{tmp_path}/mistyped.db", target)

    assert told == f"There is no database {tmp_path}/mistyped.db: check the path."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_older", ["source", "target"])
def test_a_studio_of_an_older_version_keeps_its_tables(source: str, cluster: Cluster, is_older: str) -> None:
    with cluster.database() as target:
        older = {"source": source, "target": target}[is_older]
        make_older(older)
        before = columns(older)

        told = copy_refused(source, target)

        assert "has no tables of this version" in told
        assert columns(older) == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_is_not_copied_to_itself(cluster: Cluster, source: str, tmp_path: Path, kind: str) -> None:
    (tmp_path / "alias.db").symlink_to(tmp_path / "source" / "studio.db")
    with cluster.database() as here:
        one, other = {
            "sqlite": (source, f"sqlite:///{tmp_path}/alias.db"),
            "postgresql": (here, here.replace("127.0.0.1", "localhost")),
        }[kind]
        open_queue(one).enqueue("numpy", SPEC, submitter="ann")

        told = copy_refused(one, other)

        assert "are the same database: choose another target" in told
        with db.reading(db.open_engine(one)) as connection:
            assert "unfinished_copy" not in inspect(connection).get_table_names()


def test_a_store_is_not_copied_to_itself(source: str, target: str, tmp_path: Path) -> None:
    live_in(source, ArtifactStore(str(tmp_path / "files")))
    (tmp_path / "alias").symlink_to(tmp_path / "files")
    before = sorted(path for path in (tmp_path / "files").rglob("*") if path.is_file())

    told = copy_refused(source, target, *stores(tmp_path / "files", tmp_path / "alias"))

    assert "are the same place" in told
    assert sorted(path for path in (tmp_path / "files").rglob("*") if path.is_file()) == before


def test_a_store_is_not_copied_into_itself(source: str, target: str, tmp_path: Path) -> None:
    live_in(source, ArtifactStore(str(tmp_path / "files")))

    told = copy_refused(source, target, *stores(tmp_path / "files", tmp_path / "files" / "backup"))

    assert "the second lies in the first" in told


def test_an_object_store_is_told_as_the_same_place_by_whichever_key(
    source: str, target: str, object_store: ObjectStore
) -> None:
    place = object_store.place()
    options = object_store.options()

    told = copy_refused(
        *(source, target, *stores(f"{place}/", place)),
        **as_settings(place, options),
        **as_variables(object_store.options(READER)),
    )

    assert "are the same place" in told


def test_files_move_to_an_object_store_and_on_by_their_own_keys(
    source: str, target: str, tmp_path: Path, object_store: ObjectStore
) -> None:
    """The settings' store takes ``artifact_options``; another one what the environment gives."""
    options = object_store.options()
    places = [str(tmp_path / "files"), object_store.place(), object_store.place(), str(tmp_path / "back")]
    live_in(source, ArtifactStore(places[0]))

    copy_well(source, target, *stores(*places[:2]), **as_settings(places[1], options))
    copy_well(
        *(source, target, *stores(*places[1:3])),
        **as_settings(places[2], options),
        **as_variables(object_store.options(READER)),
    )
    told = copy_well(source, target, *stores(*places[2:]), **as_settings(places[2], options))

    assert re.search(r"^files +6 +6 +each the same, 18.0 MB$", told, re.MULTILINE)
    first, last = ArtifactStore(places[0]), ArtifactStore(places[3])
    names = [file.name for file in first.files("jobs")]
    assert [file.name for file in last.files("jobs")] == names
    assert [last.read(name) for name in names] == [first.read(name) for name in names]


def test_what_an_object_store_refuses_is_told_without_its_secret(
    source: str, target: str, tmp_path: Path, object_store: ObjectStore
) -> None:
    place = object_store.place()
    ArtifactStore(place, object_store.options()).publish("job", "a", b"whole")
    stranger = object_store.options({"key": "owner", "secret": "a wrong guess"})

    unread = copy_refused(source, target, *stores(place, tmp_path / "copy"), **as_settings(place, stranger))
    unwritten = copy_refused(
        *(source, target, *stores(place, object_store.place())),
        **as_settings(place, object_store.options()),
        **as_variables(object_store.options(READER)),
    )

    assert f"The artifact store {place} cannot be listed" in unread
    assert "wrong guess" not in unread
    assert re.match(r"The artifact store s3://studio/\w+ cannot be written", unwritten)


def test_an_object_store_that_is_down_or_not_there_is_told(
    source: str, target: str, tmp_path: Path, object_store: ObjectStore
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        options = object_store.options(endpoint=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        down = copy_refused(
            *(source, target, *stores("s3://studio/down", tmp_path / "copy")),
            **as_settings("s3://studio/down", options),
            AWS_MAX_ATTEMPTS="1",
        )
    missing = copy_refused(
        *(source, target, *stores(tmp_path / "files", "s3://no-such-bucket/place")),
        **as_settings("s3://no-such-bucket/place", object_store.options()),
    )

    assert "The artifact store s3://studio/down cannot be listed" in down
    assert "The artifact store s3://no-such-bucket/place cannot be written" in missing


def test_a_target_that_vanishes_is_not_taken_for_files_removed_from_the_source(
    source: str, target: str, tmp_path: Path
) -> None:
    ArtifactStore(str(tmp_path / "files")).publish("job", "a.png", b"whole")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "jobs").symlink_to(tmp_path / "unmounted")

    told = copy_refused(source, target, *stores(tmp_path / "files", tmp_path / "copy"))

    assert f"The artifact store {tmp_path}/copy cannot be written (No such file or directory)" in told


@pytest.mark.parametrize("url", ["no://somebody:hidden@host/place", "s3://somebody:hidden@host/place"])
def test_what_a_store_url_says_of_its_key_is_not_shown(
    source: str, target: str, tmp_path: Path, url: str
) -> None:
    told = copy_refused(source, target, *stores(tmp_path / "files", url))

    assert f"The artifact store {url.replace('somebody:hidden@', '')} cannot be" in told
    assert "hidden" not in told


def test_stores_go_together(source: str, target: str, tmp_path: Path) -> None:
    told = copy(source, target, "--artifacts-to", str(tmp_path / "copy"))

    assert told.returncode == 2
    assert "go together: give both" in told.stderr


def test_an_address_of_no_database_is_told(source: str) -> None:
    assert "cannot be opened" in copy_refused(source, "nonsense")


def test_migrate_makes_the_tables(target: str) -> None:
    assert subprocess.run(command("migrate", target), cwd=ROOT).returncode == 0

    assert open_queue(target).counts().waiting == 0


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | WORDS
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=8)
PRESETS = st.tuples(WORDS, st.dictionaries(WORDS, JSON))
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    presets=st.lists(PRESETS, max_size=4, unique_by=lambda preset: preset[0]),
    moments=st.lists(MOMENTS, min_size=1, max_size=4),
    seconds=st.floats(0, 1e9),
)
def test_every_value_survives_the_way_there_and_back(
    cluster: Cluster,
    new_sqlite: NewDatabase,
    tmp_path_factory: pytest.TempPathFactory,
    presets: list[tuple[str, dict[str, Any]]],
    moments: list[datetime],
    seconds: float,
) -> None:
    folders = [tmp_path_factory.mktemp("side") for _ in range(2)]
    with new_sqlite(folders[0]) as here, cluster.database() as there, new_sqlite(folders[1]) as back:
        with db.writing(db.open_engine(here)) as connection:
            for name, parameters in presets:
                row = {"submitter": name, "generator": "g", "weights": "w", "name": name}
                row["parameters"] = parameters
                connection.execute(insert(tables.presets), row)
            for number, moment in enumerate(moments):
                row = {"name": f"switch {number}", "changed_by": "ann", "changed_at": moment}
                connection.execute(insert(tables.switches), row)
        open_queue(here).enqueue("g", SPEC | {"seconds": seconds}, submitter="ann")
        for one, other in ((here, there), (there, back)):
            copied = copying.copy_rows(db.open_engine(one), db.open_engine(other), lambda _rows: None)
            assert all(each.is_whole for each in copied)
        assert content(here) == content(there) == content(back)
