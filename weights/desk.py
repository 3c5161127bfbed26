"""The weights as the pages and the API handle them: downloads go on in the background, one after another."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weights.catalogue import WeightsEntry
from weights.errors import WeightsError
from weights.files import is_installed, verify_afresh
from weights.store import Store


@dataclass(frozen=True)
class Status:
    """How a set is: ``arrived`` bytes of its ``entry.space`` are there, shared files included.

    ``problem`` says why its last download failed; ``part_of`` are the titles of the sets that need it.
    """

    entry: WeightsEntry
    installed: bool
    downloading: bool
    arrived: int
    problem: str | None
    part_of: tuple[str, ...]


class WeightsDesk:
    """One thing at a time changes the folder of a ``Store``: sets share files, and downloads the network."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._wanted: dict[str, threading.Event] = {}
        self._problems: dict[str, str] = {}

    def sets(self) -> list[Status]:
        """All sets in the catalogue's order."""
        return [self._status(entry) for entry in self._store.entries]

    def status(self, name: str) -> Status:
        """One set. Raises WeightsError for an unknown name."""
        return self._status(self._store.entry(name))

    def download(self, name: str) -> None:
        """Have a set fetched in the background, once those asked for earlier are there.

        What had arrived before is gone on with; nothing happens where it is being fetched already.
        Raises WeightsError for an unknown name.
        """
        self._store.entry(name)
        with self._lock:
            self._problems.pop(name, None)
            if name in self._wanted:
                return
            stop = self._wanted[name] = threading.Event()
        threading.Thread(target=self._fetch, args=(name, stop), name=f"download {name}", daemon=True).start()

    def stop(self, name: str) -> None:
        """Give a download up; what has arrived is kept. Raises WeightsError for an unknown name."""
        self._store.entry(name)
        with self._lock:
            stop = self._wanted.pop(name, None)
        if stop is not None:
            stop.set()

    def verify(self, name: str) -> None:
        """Read every file of a set. Raises WeightsError where one is missing or damaged."""
        verify_afresh(self._store.entry(name), self._store.folder)

    def import_files(self, paths: Sequence[Path], name: str) -> list[str]:
        """Copy files at hand into a set; returns what was installed.

        Raises:
            WeightsError: a file is no part of the set, or something is being downloaded.
        """
        with self._alone():
            return self._store.import_files(paths, name)

    def remove(self, name: str) -> list[str]:
        """Delete the files of a set that no other installed one needs; returns their paths.

        Raises:
            WeightsError: it cannot be removed, or something is being downloaded.
        """
        with self._alone():
            return self._store.remove(name)

    def _status(self, entry: WeightsEntry) -> Status:
        return Status(
            entry=entry,
            installed=is_installed(entry, self._store.folder),
            downloading=entry.name in self._wanted,
            arrived=self._store.arrived(entry),
            problem=self._problems.get(entry.name),
            part_of=tuple(other.title for other in self._store.entries if entry.name in other.parts),
        )

    def _fetch(self, name: str, stop: threading.Event) -> None:
        problem = None
        with self._turn:
            try:
                _heed(stop)
                self._store.download(name, lambda *_: _heed(stop))
            except _Stopped:
                return
            except WeightsError as error:
                problem = str(error)
            except Exception:
                logging.getLogger(__name__).exception("the download of %s failed", name)
                problem = f"The download of the weights '{name}' failed; the studio's log says why."
        with self._lock:
            if self._wanted.get(name) is stop:
                del self._wanted[name]
                if problem:
                    self._problems[name] = problem

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._turn.acquire(blocking=False):
            raise WeightsError("Weights are being downloaded now: wait for that, or stop it first.")
        try:
            yield
        finally:
            self._turn.release()


class _Stopped(Exception):
    """The download is not wanted any more."""


def _heed(stop: threading.Event) -> None:
    if stop.is_set():
        raise _Stopped
