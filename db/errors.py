"""What can be wrong with a database, each told in one sentence."""

import re

from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError


class DatabaseError(Exception):
    """The database cannot be used; the text says what is wrong and what to do."""


_SENTENCES = {
    r"is locked|LockNotAvailable|DeadlockDetected": (
        "The database {name} is locked by another program: close that program, or try again."
    ),
    r"readonly|ReadOnlySqlTransaction|InsufficientPrivilege": (
        "The database {name} is read-only: give this user the right to write it and its folder."
    ),
    r"disk is full|DiskFull": "The disk that holds the database {name} is full: free some space.",
    r"disk i/o error": "The disk that holds the database {name} cannot be read or written: check the disk.",
    r"no such table|UndefinedTable": (
        "The database {name} has no tables yet: start the web app, which makes them."
    ),
    r"malformed": "The file {name} is damaged: restore it from a backup.",
    r"password|role .* does not exist|pg_hba": (
        "The server of {name} does not let this user in: check the user and the password in database_url."
    ),
    r"database .* does not exist": (
        "The server of {name} has no such database: create it with createdb, or check database_url."
    ),
    r"too many (clients|connections)|no more connections|connection slots|TooManyConnections"
    r"|QueuePool limit|query_wait_timeout": (
        "The database {name} has no connection left: raise its server's max_connections, or start less."
    ),
    r"starting up|shutting down|AdminShutdown|CrashShutdown|recovery mode|CannotConnectNow": (
        "The server of {name} is being restarted: it goes on by itself once the server is back."
    ),
    r"server closed|connection is (lost|closed)|terminating connection|IdleInTransaction|reset by peer": (
        "The connection to {name} was cut: it goes on by itself once the server can be reached."
    ),
    r"refused|timeout expired|timed out|unreachable|resolve|no such file or directory": (
        "No server answers at {name}: start PostgreSQL there, or check database_url."
    ),
    r"DataError|OutOfRange|Truncation": "The database {name} cannot hold what it was given: {reason}.",
}
"""By what the driver says, or by the name of its error, which is the same in every language."""

_UNOPENABLE = "The database {name} cannot be opened ({reason}): check database_url and the file's rights."
_NEWER = (
    "The database {name} was made by a newer version of this program (its schema is {revision}): "
    "update the program, or use another database."
)

_OLDER = "The database {name} has no tables of this version: restart the web app, which makes them."


def explain(engine: Engine, error: Exception) -> DatabaseError:
    """Turn an error of the driver, or SQLAlchemy's wrapping of it, into a sentence for people."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    kind, reason = type(cause).__name__, str(cause)
    name = name_of(engine)
    for symptom, sentence in _SENTENCES.items():
        if re.search(symptom, f"{kind} {reason}", re.IGNORECASE):
            return DatabaseError(sentence.format(name=name, reason=_first_line(reason)))
    return unopenable(name, reason)


def unopenable(name: str, reason: str) -> DatabaseError:
    """For a database that cannot be reached at all."""
    return DatabaseError(_UNOPENABLE.format(name=name, reason=_first_line(reason)))


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


def _first_line(reason: str) -> str:
    return reason.strip().splitlines()[0] if reason.strip() else "no reason given"
