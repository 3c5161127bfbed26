"""What can be wrong with a database, each told in one sentence."""

from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError


class DatabaseError(Exception):
    """The database cannot be used; the text says what is wrong and what to do."""


_SENTENCES = {
    "locked": "The database {name} is locked by another program: close that program, or try again.",
    "readonly": "The database {name} is read-only: give this user the right to write it and its folder.",
    "disk is full": "The disk that holds the database {name} is full: free some space.",
    "disk i/o error": "The disk that holds the database {name} cannot be read or written: check the disk.",
    "no such table": "The database {name} has no tables yet: start the web app, which makes them.",
    "malformed": "The file {name} is damaged: restore it from a backup.",
}
_UNOPENABLE = "The database {name} cannot be opened ({reason}): check database_url and the file's rights."
_NEWER = (
    "The database {name} was made by a newer version of this program (its schema is {revision}): "
    "update the program, or use another database."
)

_OLDER = "The database {name} has no tables of this version: restart the web app, which makes them."


def explain(engine: Engine, error: Exception) -> DatabaseError:
    """Turn an error of the driver, or SQLAlchemy's wrapping of it, into a sentence for people."""
    reason = str(error.orig if isinstance(error, DBAPIError) else error)
    name = name_of(engine)
    for symptom, sentence in _SENTENCES.items():
        if symptom in reason.lower():
            return DatabaseError(sentence.format(name=name))
    return unopenable(name, reason)


def unopenable(name: str, reason: str) -> DatabaseError:
    """For a database that cannot be reached at all."""
    first_line = reason.strip().splitlines()[0] if reason.strip() else "no reason given"
    return DatabaseError(_UNOPENABLE.format(name=name, reason=first_line))


def newer(engine: Engine, revision: str) -> DatabaseError:
    """For a schema revision that this version does not know."""
    return DatabaseError(_NEWER.format(name=name_of(engine), revision=revision))


def older(engine: Engine) -> DatabaseError:
    """For a database that this version has not brought up to date."""
    return DatabaseError(_OLDER.format(name=name_of(engine)))


def name_of(engine: Engine) -> str:
    """What a person calls the database: a file's path, or an address without its password."""
    url = make_url(engine.url)
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    return url.render_as_string(hide_password=True)
