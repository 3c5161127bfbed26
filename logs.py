"""What a process writes down: a line an event, for people or as JSON, with the job that it is about.

Lines of libraries, warnings and errors that nobody caught go the same way.
"""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

_facts: ContextVar[Mapping[str, str | int]] = ContextVar("facts", default=MappingProxyType({}))


def start(log_format: str, level: int = logging.INFO) -> None:
    """Write all lines from ``level`` on to stderr, as ``text`` or ``json``.

    No library writes its own way any more. One that sets its logging up later, as a web server does, is
    caught by calling this again.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_FORMATTERS[log_format])
    handler.addFilter(_tell_facts)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for talkative in ("alembic", "uvicorn.access"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    sys.excepthook = _tell_end
    threading.excepthook = lambda end: _tell_end(end.exc_type, end.exc_value, end.exc_traceback)


@contextmanager
def about(**facts: str | int | None) -> Iterator[None]:
    """Every line that the block causes in its thread or task tells these ``facts``.

    Those that are None are left out. They are named ``job``, ``attempt`` (a count from 1) and ``executor``
    everywhere.
    """
    known = {name: fact for name, fact in facts.items() if fact is not None}
    token = _facts.set({**_facts.get(), **known})
    try:
        yield
    finally:
        _facts.reset(token)


class _Text(logging.Formatter):
    """For people: the time, the level, and the message after the job that it is about."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        job = f"job {record.__dict__['job']}: " if "job" in record.__dict__ else ""
        return f"{when.replace('+00:00', 'Z')} {record.levelname:<7} {job}{record.message}"


_FORMATTERS: dict[str, logging.Formatter] = {
    "text": _Text(),
    "json": JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
        timestamp="time",
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],
    ),
}


def _tell_facts(record: logging.LogRecord) -> bool:
    record.__dict__.update(_facts.get())
    return True


def _tell_end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    told = error if error is not None else kind()
    logging.critical("ended by an error that nobody expected", exc_info=(kind, told, trace))
