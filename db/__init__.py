"""Tables, engine and migrations: ``migrate(url)`` readies a database, ``open_engine(url)`` opens it."""

from db.direct import Direct, tell, writing_directly
from db.engine import open_engine, reading, writing
from db.errors import DatabaseError
from db.migration import check, migrate
from db.prepared import Prepared

__all__ = [
    "DatabaseError",
    "Direct",
    "Prepared",
    "check",
    "migrate",
    "open_engine",
    "reading",
    "tell",
    "writing",
    "writing_directly",
]
