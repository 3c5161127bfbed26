"""Checks that a set of weights is installed and whole.

Where an author publishes no SHA-256, ``record`` keeps that of the first file installed in a small JSON beside
it, and from then on the file must have it.
"""

import hashlib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from weights.catalogue import WeightsEntry, WeightsFile
from weights.errors import WeightsError


class Record(BaseModel):
    """What the first file installed was, and where it came from."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    source: str


def is_installed(entry: WeightsEntry, weights_dir: Path) -> bool:
    """Whether every file is there; what is in them is for ``verify`` to check."""
    return all(is_there(file, weights_dir) for file in entry.files)


def is_there(file: WeightsFile, weights_dir: Path) -> bool:
    """Whether the file is there and known."""
    return (weights_dir / file.path).is_file() and known_sha256(file, weights_dir) is not None


def verify(entry: WeightsEntry, weights_dir: Path) -> None:
    """Compare each file of the set with the catalogue; an unchanged file is read once a process.

    Raises:
        WeightsError: a file is missing, unreadable, or not the one that the catalogue describes.
    """
    for file in entry.files:
        path = weights_dir / file.path
        try:
            whole = is_whole(file, weights_dir)
        except FileNotFoundError as error:
            raise WeightsError(f"{path} is missing; install the weights '{entry.name}' again.") from error
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
        if known_sha256(file, weights_dir) is None:
            raise WeightsError(
                f"{path} was put there by hand; run python -m weights import {path} --as {entry.name}."
            )
        if not whole:
            raise WeightsError(f"{path} is damaged; install the weights '{entry.name}' again.")


def verify_afresh(entry: WeightsEntry, weights_dir: Path) -> None:
    """Like ``verify``, but every file is read now, however unchanged it looks. Raises WeightsError."""
    _sha256.cache_clear()
    verify(entry, weights_dir)


def is_whole(file: WeightsFile, weights_dir: Path) -> bool:
    """Whether the file is the one known; an unchanged file is read once a process. Raises OSError."""
    path = weights_dir / file.path
    status = path.stat()
    if file.size not in (None, status.st_size):
        return False
    return _sha256(path, status.st_size, status.st_mtime_ns) == known_sha256(file, weights_dir)


def known_sha256(file: WeightsFile, weights_dir: Path) -> str | None:
    """What the file must have: the catalogue's SHA-256, else the recorded one, if any."""
    if file.sha256 is not None:
        return file.sha256
    try:
        return Record.model_validate_json(record_path(weights_dir / file.path).read_bytes()).sha256
    except (OSError, ValidationError):
        return None


def record(path: Path, sha256: str, source: str) -> None:
    """Remember the SHA-256 of what is being installed as ``path``."""
    record_path(path).write_text(Record(sha256=sha256, source=source).model_dump_json(indent=2) + "\n")


def record_path(path: Path) -> Path:
    """Where the record of the file at ``path`` lies."""
    return path.with_name(f"{path.name}.record.json")


def conversion_folder(path: Path) -> Path:
    """Where ``weights.conversion`` keeps the tensors of the pickled checkpoint at ``path``."""
    return path.with_name(f"{path.name}.converted")


def weights_hash(entry: WeightsEntry, weights_dir: Path) -> str:
    """Name the set's exact content in 16 hexadecimal digits, for the recipe kept with each result."""
    lines = sorted(f"{sha256} {path}\n" for path, sha256 in known_hashes(entry, weights_dir).items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def known_hashes(entry: WeightsEntry, weights_dir: Path) -> dict[str, str | None]:
    """The SHA-256 of every file of the set, by its path; None for one that is not installed."""
    return {file.path: known_sha256(file, weights_dir) for file in entry.files}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """``size`` and ``mtime_ns`` name the file's version: a changed file is read again."""
    return sha256_of(path)
