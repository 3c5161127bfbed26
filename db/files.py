"""Copies the files of one artifact store to another, and compares their contents."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from store import ASIDE, ArtifactNotFound, ArtifactStore

_THREADS = 8


class SamePlace(Exception):
    """Two stores are one, or one holds the other; the text says which and what to do."""


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


def names(source: ArtifactStore) -> list[str]:
    """Every file that is whole, by the name that the database knows it by. Raises StoreError."""
    return [file.name for file in source.files() if not file.name.startswith(f"{ASIDE}/")]


def refuse_same_place(source: ArtifactStore, target: ArtifactStore) -> None:
    """Raise SamePlace where the source holds what is written to the target, or StoreError."""
    probe = f"{ASIDE}/copy-{secrets.token_hex(8)}"
    target.put(probe, b"")
    try:
        if any(file.name.endswith(probe) for file in source.files()):
            raise SamePlace(
                f"{source.address} and {target.address} are the same place, or the second lies in the first: "
                "choose another target, or leave both out where the files stay."
            )
    finally:
        target.delete(probe)


def copy_files(
    source: ArtifactStore, target: ArtifactStore, wanted: Sequence[str], advance: Callable[[], object]
) -> list[File]:
    """Write to ``target`` those files of ``source`` that it lacks, or holds with other contents.

    Raises:
        StoreError: one of the two cannot be read or written.
    """

    def copy(name: str) -> File:
        copied = _copy(source, target, name)
        advance()
        return copied

    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(copy, wanted))


def _copy(source: ArtifactStore, target: ArtifactStore, name: str) -> File:
    data = _read(source, name)
    if data is None:  # removed since the names were listed
        return File(name, 0, None, None)
    wanted = _sha256(data)
    held = _sha256(_read(target, name))
    if held != wanted:
        target.put(name, data)
        held = _sha256(_read(target, name))
    return File(name, len(data), wanted, held)


def _read(store: ArtifactStore, name: str) -> bytes | None:
    try:
        return store.read(name)
    except ArtifactNotFound:
        return None


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
