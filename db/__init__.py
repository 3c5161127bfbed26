"""Tables, engine and migrations: ``migrate(url)`` readies a database, ``open_engine(url)`` opens it."""

from db.engine import open_engine, reading, writing
from db.errors import DatabaseError
from db.migration import migrate

__all__ = ["DatabaseError", "migrate", "open_engine", "reading", "writing"]
