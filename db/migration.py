"""Brings a database to this version of the tables.

A change of ``db/tables.py`` comes with a numbered file in ``db/migrations/versions`` beside the others;
a test compares what the migrations build with what the tables say.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from db import errors
from db.engine import open_engine, reading, writing

_MIGRATIONS = Path(__file__).with_name("migrations")
_ADVISORY_LOCK = 7_301_925_846


def migrate(url: str) -> None:
    """Create or update the tables of the database at ``url``; does nothing when they are up to date.

    Several processes may call it at once: one works, the others wait.

    Raises:
        DatabaseError: the database cannot be opened, is locked, read-only, or from a newer version.
    """
    engine = open_engine(url, answer_seconds=None)
    try:
        _make_folder(engine)
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with reading(engine) as connection:
            up_to_date = _is_up_to_date(connection, config)
        if not up_to_date:
            with writing(engine) as connection:
                _wait_for_other_migrations(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        engine.dispose()


def check(engine: Engine) -> None:
    """Raise DatabaseError unless the database answers and has this version's tables."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with reading(engine) as connection:
        if not _is_up_to_date(connection, config):
            raise errors.older(engine)


def _make_folder(engine: Engine) -> None:
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database.startswith(("file:", ":memory:")):
        return
    try:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.unopenable(database, str(error)) from error


def _is_up_to_date(connection: Connection, config: Config) -> bool:
    scripts = ScriptDirectory.from_config(config)
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise errors.newer(connection.engine, revision)
    return revision == scripts.get_current_head()


def _wait_for_other_migrations(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
