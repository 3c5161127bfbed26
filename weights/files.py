"""Checks that a set of weights is installed and whole."""

import hashlib
from functools import cache
from pathlib import Path

from weights.catalogue import WeightsEntry, WeightsFile
from weights.errors import WeightsError


def verify(entry: WeightsEntry, weights_dir: Path) -> None:
    """Compare each file of the set with the catalogue; an unchanged file is read once a process.

    Raises:
        WeightsError: a file is missing, unreadable, or not the one that the catalogue describes.
    """
    for file in entry.files:
        path = weights_dir / file.path
        try:
            whole = _is_whole(path, file)
        except FileNotFoundError as error:
            raise WeightsError(f"{path} is missing; install the weights '{entry.name}' again.") from error
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
        if not whole:
            raise WeightsError(f"{path} is damaged; install the weights '{entry.name}' again.")


def weights_hash(entry: WeightsEntry) -> str:
    """Name the set's exact content in 16 hexadecimal digits, for the recipe kept with each result."""
    lines = sorted(f"{file.sha256} {file.path}\n" for file in entry.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _is_whole(path: Path, file: WeightsFile) -> bool:
    status = path.stat()
    return status.st_size == file.size and _sha256(path, status.st_size, status.st_mtime_ns) == file.sha256


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """``size`` and ``mtime_ns`` name the file's version: a changed file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
