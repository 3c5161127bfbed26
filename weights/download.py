"""One file over HTTP: what has arrived is kept, and the next try goes on from there."""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pydantic import BaseModel, ConfigDict, ValidationError

from weights.errors import WeightsError

CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 30
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)", re.ASCII)
STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')

Progress = Callable[[int, int | None], None]
"""Takes the bytes that have arrived and those of the whole file, if known."""


class SourceError(Exception):
    """A source does not give the file; the text says why, without naming the source."""


class Origin(BaseModel):
    """Where the bytes in a ``.part`` come from; ``version`` is what the server calls the file's version."""

    model_config = ConfigDict(frozen=True)

    source: str
    version: str | None


def fetch(source: str, part: Path, size: int | None, checked: bool, progress: Progress) -> None:
    """Fill ``part`` with the file at ``source``, going on after what ``part`` already holds.

    ``checked`` says that the whole is compared with a known SHA-256 afterwards. Without it only the same
    version from the same source is gone on with.

    Raises:
        SourceError: the source does not give the whole file; what has arrived stays in ``part``.
        WeightsError: another process fills ``part``, or the disk is full.
        OSError: ``part`` cannot be written.
    """
    with _locked(part) as file:
        origin = _origin(part)
        start = file.tell() if checked or _can_go_on(origin, source) else 0
        version = None if checked or origin is None else origin.version
        with _ask(source, start, version) as answer:
            start = _start(answer, start)
            total = None if answer.length is None else start + answer.length
            _refuse_what_is_no_such_file(answer, total, size)
            require_space(part.parent, (total or 0) - start)
            if file.tell() != start:
                file.truncate(start)
            _origin_path(part).write_text(
                Origin(source=source, version=_version(answer)).model_dump_json() + "\n"
            )
            _receive(answer, file, start, total, progress)


def leftovers(path: Path) -> tuple[Path, Path]:
    """What an unfinished download of ``path`` leaves: the part, and the note of where it comes from."""
    part = path.with_name(f"{path.name}.part")
    return part, _origin_path(part)


def require_space(folder: Path, size: int) -> None:
    """Raise WeightsError where ``folder``'s disk has no room for ``size`` more bytes."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise WeightsError(
            f"The disk of {folder} is too full: {size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free."
        )


def parse_start(content_range: str) -> int | None:
    """Where an answer with this Content-Range header begins; None where the header is no such thing."""
    found = CONTENT_RANGE.fullmatch(content_range.strip())
    return int(found[1]) if found else None


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WeightsError(f"Another process is downloading {part}; wait for it.") from error
        yield file


def _ask(source: str, start: int, version: str | None) -> HTTPResponse:
    headers = {"User-Agent": "text-to-image-studio"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if version is not None:
            headers["If-Range"] = version
    try:
        return cast(HTTPResponse, urlopen(Request(source, headers=headers), timeout=TIMEOUT_SECONDS))
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # what is kept is longer than the file
            return _ask(source, 0, None)
        raise SourceError(f"answered {error.code} {error.reason}".strip()) from error
    except URLError as error:
        raise SourceError(f"cannot be reached: {_reason(error.reason)}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"cannot be reached: {_reason(error)}") from error


def _start(answer: HTTPResponse, asked: int) -> int:
    """Where in the file the answer begins."""
    if answer.status != 206:
        return 0
    if parse_start(answer.headers.get("Content-Range", "")) != asked:
        raise SourceError("sent another piece of the file than it was asked for")
    return asked


def _refuse_what_is_no_such_file(answer: HTTPResponse, total: int | None, size: int | None) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise SourceError("sent a page instead of the file")
    if total is not None and size not in (None, total):
        raise SourceError(f"has a file of {total} bytes instead of {size}")


def _receive(answer: HTTPResponse, file: BinaryIO, start: int, total: int | None, progress: Progress) -> None:
    arrived = start
    progress(arrived, total)
    while chunk := _read(answer):
        file.write(chunk)
        arrived += len(chunk)
        progress(arrived, total)
    file.flush()
    os.fsync(file.fileno())
    if total is not None and arrived < total:
        raise SourceError(f"broke off after {arrived} of {total} bytes")


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read1(CHUNK_BYTES)
    except (OSError, HTTPException) as error:
        raise SourceError(f"broke off: {_reason(error)}") from error


def _can_go_on(origin: Origin | None, source: str) -> bool:
    return origin is not None and origin.source == source and origin.version is not None


def _version(answer: HTTPResponse) -> str | None:
    """What may stand in If-Range: a strong ETag, else the date of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if STRONG_TAG.fullmatch(tag) else answer.headers.get("Last-Modified")


def _origin(part: Path) -> Origin | None:
    try:
        return Origin.model_validate_json(_origin_path(part).read_bytes())
    except (OSError, ValidationError):
        return None


def _origin_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _reason(error: object) -> str:
    """Why, in the words of the system."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
