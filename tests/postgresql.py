"""A PostgreSQL server of the tests' own: real, in a temporary folder, run by an ordinary user."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

import db

OWNER = "studio"
"""The name that the tests log in by."""

_TEMPLATE = "template_of_tests"
_ORDINARY_USERS = ("postgres", "nobody")
_ALL_THAT_MAKES_WRITES_LAST = ("fsync", "full_page_writes", "synchronous_commit")


class NoServer(RuntimeError):
    """PostgreSQL is not installed, or does not start."""


class Cluster:
    """A server on a free port of this machine; ``lasting`` makes it flush its writes to the disk."""

    def __init__(self, folder: Path, *, lasting: bool = False) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._programs = _programs()
        self._user = _ordinary_user()
        self._lasting = lasting
        self.port = _free_port()
        self.socket = folder / f".s.PGSQL.{self.port}"

    def create(self) -> None:
        """Lay the server's files."""
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        trusting = ["--auth=trust", f"--username={OWNER}"]
        self._run(
            "initdb", *trusting, "--encoding=UTF8", "--no-sync", "--no-instructions", "--locale=C.UTF-8"
        )
        settings = {
            "port": self.port,
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self._folder}'",
            "max_connections": 120,
            "shared_buffers": "'32MB'",
        }
        if not self._lasting:
            settings |= dict.fromkeys(_ALL_THAT_MAKES_WRITES_LAST, "off")
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(lines)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = self._folder / "log"
        self._run("pg_ctl", "--wait", "--silent", f"--log={log}", "start", log=log)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast`` cuts every connection, ``immediate`` is like pulling its plug."""
        self._run("pg_ctl", "--wait", "--silent", f"--mode={mode}", "stop")

    def kill(self) -> None:
        """SIGKILL to each of the server's processes: no time to tidy up."""
        lock = self._data / "postmaster.pid"
        server = psutil.Process(int(lock.read_text().split()[0]))
        server.suspend()  # so that it starts no more of them
        family = [server, *server.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while any(map(_lives, family)):
            time.sleep(0.01)
        for left in (lock, self.socket.with_name(f"{self.socket.name}.lock")):
            left.unlink(missing_ok=True)  # the dead would pass for alive until somebody has buried them

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """The address of a database, straight or by way of a proxy's ``port``."""
        return f"postgresql+psycopg://{OWNER}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement beside whatever the tests do; returns its rows."""
        address = f"host=127.0.0.1 port={self.port} user={OWNER} dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            done = connection.execute(statement)  # type: ignore[arg-type]
            return done.fetchall() if done.description else []

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The address of a new database, with the studio's tables or empty; it goes at the end."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {self._template() if migrated else 'template0'}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextmanager
    def asking_for_password(self, user: str) -> Iterator[None]:
        """Let that user in by password only."""
        rules = self._data / "pg_hba.conf"
        usual = rules.read_text()
        rules.write_text(f"host all {user} all scram-sha-256\n{usual}")
        self._reload()
        try:
            yield
        finally:
            rules.write_text(usual)
            self._reload()

    def _reload(self) -> None:
        """Have the server read its files again, and wait until it has."""
        ((before,),) = self.execute("SELECT pg_conf_load_time() FROM pg_reload_conf()")
        while self.execute("SELECT pg_conf_load_time()") == [(before,)]:
            time.sleep(0.01)

    def _template(self) -> str:
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{_TEMPLATE}'"):
            self.execute(f"CREATE DATABASE {_TEMPLATE}")
            db.migrate(self.url(_TEMPLATE))
        return _TEMPLATE

    def _run(self, program: str, *arguments: str, log: Path | None = None) -> None:
        environment = {**os.environ, "PGDATA": str(self._data), "LC_ALL": "C.UTF-8"}
        command: Sequence[str | Path] = [self._programs / program, *arguments]
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open as long as the server lives
            finished = subprocess.run(
                command, env=environment, user=self._user, cwd="/", stdout=output, stderr=subprocess.STDOUT
            )
            output.seek(0)
            told = output.read()
        if finished.returncode != 0:
            told += log.read_text() if log is not None and log.exists() else ""
            raise NoServer(f"PostgreSQL's {program} failed:\n{told}")


@contextmanager
def running_cluster(*, lasting: bool = False) -> Iterator[Cluster]:
    """A server that is gone at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="studio-postgresql-"))
    cluster = Cluster(folder, lasting=lasting)
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            cluster.stop("immediate")
        shutil.rmtree(folder)


def _programs() -> Path:
    """The newest installed version's programs, which Debian keeps out of the PATH."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not found:
        raise NoServer(
            "These tests need PostgreSQL: run ./set_up_env.sh --install-only --dev, which installs it."
        )
    return found[-1]


def _ordinary_user() -> str | None:
    """PostgreSQL refuses to be run by root; None stands for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in _ORDINARY_USERS if name in known)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
