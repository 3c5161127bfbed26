"""Copies the files of one artifact store to another, each by its fsspec URL, and compares their contents."""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import fsspec

from settings import secrets_in, without_password

_ASIDE = "aside/"
"""Where a store keeps what is being written."""

_THREADS = 8


class StoreUnusable(Exception):
    """A store cannot be read or written, or copied to; the text says which and why."""


@dataclass(frozen=True)
class File:
    """One file of the source, ``size`` in bytes; ``sha256`` is None where it was removed meanwhile."""

    name: str
    size: int
    sha256: str | None
    copied_sha256: str | None

    @property
    def is_whole(self) -> bool:
        """Whether both stores hold the same, be it nothing."""
        return self.sha256 == self.copied_sha256


class Store:
    """The files under an fsspec URL; ``options`` go to its filesystem, and are never shown.

    Every method raises StoreUnusable.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.name = without_password(url)
        self._secrets = [*re.findall(r"//([^/@]*@)", url), *secrets_in(options)]
        with self._explained("opened"):
            self._filesystem, root = fsspec.core.url_to_fs(url, **options)
        self._root = root.rstrip("/")
        self._has_folders = type(self._filesystem).mv is not fsspec.AbstractFileSystem.mv

    def names(self) -> list[str]:
        """Every file that is whole, by the name that the database knows it by."""
        start = len(self._root) + 1
        with self._explained("read"):
            found = [path[start:] for path in self._filesystem.find(self._root)]
        return sorted(name for name in found if not name.startswith(_ASIDE))

    def read(self, name: str) -> bytes | None:
        """A file's contents; None when there is no such file."""
        with self._explained("read"), suppress(FileNotFoundError):
            data: bytes = self._filesystem.cat_file(self._path(name))
            return data
        return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing one of that name."""
        path = self._path(name)
        with self._explained("written"):
            if self._has_folders:  # to others it could mean a new bucket
                self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._filesystem.pipe_file(path, data)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._explained("written"):
            self._filesystem.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Whatever the filesystem raises becomes a sentence."""
        try:
            yield
        except Exception as error:  # not only OSError: clients of object stores have errors of their own
            raise StoreUnusable(
                f"The store {self.name} cannot be {verb} ({self._reason(error)}): check its URL, "
                "its key and its space, and run the command again; it goes on where it was."
            ) from error

    def _reason(self, error: Exception) -> str:
        text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text[:300]


def refuse_same_place(source: Store, target: Store) -> None:
    """Raise StoreUnusable where both are one, be it by two names, or one of them cannot be used."""
    probe = f"{_ASIDE}copy-{secrets.token_hex(8)}"
    target.write(probe, b"")
    try:
        if source.read(probe) is not None:
            raise StoreUnusable(
                f"{source.name} and {target.name} are the same place: choose another target, "
                "or leave both out where the files stay."
            )
    finally:
        target.remove(probe)


def copy_files(
    source: Store, target: Store, names: Sequence[str], advance: Callable[[], object]
) -> list[File]:
    """Write to ``target`` those files of ``source`` that it lacks, or holds with other contents.

    A file that was half written when an earlier copy was interrupted has other contents.

    Raises:
        StoreUnusable: one of the two cannot be read or written.
    """

    def copy(name: str) -> File:
        copied = _copy(source, target, name)
        advance()
        return copied

    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(copy, names))


def _copy(source: Store, target: Store, name: str) -> File:
    data = source.read(name)
    if data is None:  # removed since the names were listed
        return File(name, 0, None, None)
    wanted = _sha256(data)
    held = _sha256(target.read(name))
    if held != wanted:
        target.write(name, data)
        held = _sha256(target.read(name))
    return File(name, len(data), wanted, held)


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
