"""Databases and an object store for the tests; the queue is asked the same on SQLite and on PostgreSQL."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import db
from store import ArtifactStore
from tests.object_store import ObjectStore
from tests.postgresql import Cluster, running_cluster

NewDatabase = Callable[[Path], AbstractContextManager[str]]
"""Gives the address of a new database with the studio's tables; a file would lie in the folder."""


on_sqlite = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
"""For what has to do with SQLite only, or with no database at all."""

everywhere = pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)
"""Runs a test on a folder and on an object store."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL for all tests; one that stops the server starts another for itself."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    template = tmp_path_factory.mktemp("template") / "studio.db"
    db.migrate(f"sqlite:///{template}")

    @contextmanager
    def new(folder: Path) -> Iterator[str]:
        shutil.copy(template, folder / "studio.db")
        yield f"sqlite:///{folder}/studio.db"

    return new


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    if request.param == "sqlite":
        new_sqlite: NewDatabase = request.getfixturevalue("new_sqlite")
        return new_sqlite
    cluster: Cluster = request.getfixturevalue("cluster")
    return lambda _folder: cluster.database()


@pytest.fixture
def database_url(new_database: NewDatabase, tmp_path: Path) -> Iterator[str]:
    with new_database(tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Shared by all tests: each takes a place of its own."""
    store = ObjectStore(tmp_path_factory.mktemp("objects") / "store")
    try:
        store.start()
        yield store
    finally:
        store.kill()


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """In a folder, or where a test asks for it, in the object store."""
    if getattr(request, "param", "folder") == "folder":
        return ArtifactStore(str(tmp_path / "artifacts"))
    objects = request.getfixturevalue("object_store")
    return ArtifactStore(objects.place(), objects.options())


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, or as many as a test asks for."""
    megabytes = getattr(request, "param", 1)
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
