"""Copies the files of one artifact store to another, each by its fsspec URL, and compares their contents."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import fsspec

_ASIDE = "aside/"
"""Where a store keeps what is being written."""

_CHUNK = 1 << 20
_THREADS = 8


class StoreUnusable(Exception):
    """A store cannot be read or written; the text says which and why."""


@dataclass(frozen=True)
class File:
    """One file of the source; ``sha256`` is None where it was removed meanwhile."""

    name: str
    size: int
    sha256: str | None
    copied_sha256: str | None

    @property
    def is_whole(self) -> bool:
        """Whether both stores hold the same, be it nothing."""
        return self.sha256 == self.copied_sha256


class Store:
    """The files under an fsspec URL. Raises StoreUnusable."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._filesystem, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise StoreUnusable(f"The store {url} cannot be opened ({error}): check the URL.") from error
        self._root = root.rstrip("/")

    def names(self) -> list[str]:
        """Every file that is whole, by the name that the database knows it by."""
        start = len(self._root) + 1
        found = (path[start:] for path in self._filesystem.find(self._root))
        return sorted(name for name in found if not name.startswith(_ASIDE))

    def sha256(self, name: str) -> str | None:
        """The digest of a file's contents; None when there is no such file."""
        digest = hashlib.sha256()
        try:
            with self.open(name, "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def size(self, name: str) -> int:
        """Bytes. Raises FileNotFoundError."""
        return int(self._filesystem.size(self._path(name)))

    def write(self, name: str, source: "Store") -> None:
        """Take over the source's file of that name. Raises FileNotFoundError."""
        with source.open(name, "rb") as file:
            self._filesystem.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            with self.open(name, "wb") as copy:
                while chunk := file.read(_CHUNK):
                    copy.write(chunk)

    def open(self, name: str, mode: str) -> Any:
        """An open file."""
        return self._filesystem.open(self._path(name), mode)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def copy_files(source: Store, target: Store, advance: Callable[[], object]) -> list[File]:
    """Write to ``target`` every file of ``source`` that it lacks, or holds with other contents.

    A file that was half written when an earlier copy was interrupted has other contents.

    Raises:
        StoreUnusable: one of the two cannot be read or written.
    """

    def copy(name: str) -> File:
        copied = _copy(source, target, name)
        advance()
        return copied

    try:
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(threads.map(copy, source.names()))
    except OSError as error:
        raise StoreUnusable(
            f"The files of {source.url} cannot be copied to {target.url} ({error}): "
            "mend that, and run the command again; it goes on where it was."
        ) from error


def _copy(source: Store, target: Store, name: str) -> File:
    try:
        size, wanted = source.size(name), source.sha256(name)
        held = target.sha256(name)
        if wanted is not None and held != wanted:
            target.write(name, source)
            held = target.sha256(name)
        return File(name, size, wanted, held)
    except FileNotFoundError:  # removed while it was read
        return File(name, 0, None, None)
