"""The folder of weights: how sets come into it, from the network or from files at hand, and leave it."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from weights.catalogue import WeightsEntry, WeightsFile, find
from weights.download import SourceError, fetch, leftovers, require_space
from weights.errors import WeightsError
from weights.files import (
    conversion_folder,
    is_installed,
    is_there,
    is_whole,
    known_sha256,
    record,
    record_path,
    sha256_of,
)

Progress = Callable[[str, int, int | None], None]
"""Takes a file's path, the bytes that have arrived and those of the whole file, if known."""


@dataclass(frozen=True)
class Store:
    """The sets of weights of a catalogue, each installed in ``folder`` or not."""

    folder: Path
    entries: Sequence[WeightsEntry]

    def entry(self, name: str) -> WeightsEntry:
        """Look a set up. Raises WeightsError for an unknown name."""
        return find(name, self.entries)

    def installed(self) -> list[WeightsEntry]:
        """The sets whose files are all there."""
        return [entry for entry in self.entries if is_installed(entry, self.folder)]

    def arrived(self, entry: WeightsEntry) -> int:
        """Bytes of a set that are there, those of unfinished downloads included."""
        return sum(
            file.space if is_there(file, self.folder) else min(self._arrived(file), file.space)
            for file in entry.files
        )

    def download(self, name: str, progress: Progress) -> None:
        """Fetch the files of a set that are missing or damaged; what had arrived before is gone on with.

        Raises:
            WeightsError: a file cannot be had from any of its sources, or not be kept.
        """
        entry = self.entry(name)
        missing = [file for file in entry.files if not self._has(file)]
        for file in missing:
            if not file.sources:
                raise WeightsError(f"{file.path} ships with the project and can only be restored from there.")
        with _told_when_unwritable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            require_space(self.folder, sum(file.space - self._arrived(file) for file in missing))
        for file in missing:
            with _told_when_unwritable(self.folder / file.path):
                self._download(file, entry, progress)

    def import_files(self, paths: Sequence[Path], name: str | None = None) -> list[str]:
        """Copy files at hand to where they belong: those of the set ``name``, or of any.

        A file is known by its SHA-256, else by its name and size. Returns what was installed.

        Raises:
            WeightsError: a file is no part of the sets, or could be several.
        """
        entries = self.entries if name is None else [self.entry(name)]
        known = list({file.path: file for entry in entries for file in entry.files}.values())
        found = [(path, _match(path, known, self.folder, name)) for path in paths]
        for path, (files, sha256) in found:
            for file in files:
                with _told_when_unwritable(self.folder / file.path):
                    self._copy(path, file, sha256)
        return [file.path for _, (files, _) in found for file in files]

    def remove(self, name: str) -> list[str]:
        """Delete the files of a set, but for those that other installed sets draw with; returns their paths.

        Raises:
            WeightsError: the set ships with the project, is not there, or others need all of it.
        """
        entry = self.entry(name)
        if entry.ships:
            raise WeightsError(f"The weights '{name}' ship with the project and stay.")
        users = [e for e in self.installed() if e.generators and e.name != name]
        needed = {file.path: user.name for user in users for file in user.files}
        there = [file for file in entry.files if any(path.exists() for path in self._traces(file))]
        free = [file for file in there if file.path not in needed]
        if not there:
            raise WeightsError(f"The weights '{name}' are not installed.")
        if not free:
            raise WeightsError(
                f"The weights '{name}' stay: '{needed[there[0].path]}' draws with them; remove that first."
            )
        for file in free:
            with _told_when_unwritable(self.folder / file.path):
                self._delete(file)
        return [file.path for file in free]

    def _download(self, file: WeightsFile, entry: WeightsEntry, progress: Progress) -> None:
        """From the first source that gives the whole file."""
        part, _ = leftovers(self.folder / file.path)
        part.parent.mkdir(parents=True, exist_ok=True)
        reasons = []
        for source in file.sources:
            try:
                self._fetch_persistently(file, source, progress)
                return
            except SourceError as error:
                reasons.append(f"{urlsplit(source).hostname} {error}")
        raise WeightsError(
            f"The weights '{entry.name}' cannot be downloaded, for {file.path} is missing: "
            f"{'; '.join(reasons)}; fetch it elsewhere and run "
            f"python -m weights import FILE --as {entry.name}."
        )

    def _fetch_persistently(self, file: WeightsFile, source: str, progress: Progress) -> None:
        """Ask again while more arrives, and once from the beginning where what was kept proved useless."""
        while True:
            before = self._arrived(file)
            try:
                return self._fetch(file, source, progress)
            except SourceError:
                now = self._arrived(file)
                if not (now > before or now == 0 < before):
                    raise

    def _fetch(self, file: WeightsFile, source: str, progress: Progress) -> None:
        path = self.folder / file.path
        part, _ = leftovers(path)
        expected = known_sha256(file, self.folder)
        if expected is None or file.size is None or self._arrived(file) < file.size:
            fetch(source, part, file.size, expected is not None, lambda *now: progress(file.path, *now))
        sha256 = sha256_of(part)
        if expected not in (None, sha256):
            for leftover in leftovers(path):
                leftover.unlink(missing_ok=True)
            raise SourceError(f"sent a file with the wrong checksum ({sha256[:16]}…), which was deleted")
        self._settle(file, sha256, source)

    def _copy(self, path: Path, file: WeightsFile, sha256: str) -> None:
        part, _ = leftovers(self.folder / file.path)
        part.parent.mkdir(parents=True, exist_ok=True)
        require_space(part.parent, path.stat().st_size)
        shutil.copyfile(path, part)
        self._settle(file, sha256, str(path))

    def _settle(self, file: WeightsFile, sha256: str, source: str) -> None:
        """Move the whole part into place; the record comes first, so that no file is without one."""
        path = self.folder / file.path
        part, origin = leftovers(path)
        if file.sha256 is None:
            record(path, sha256, source)
        os.replace(part, path)
        origin.unlink(missing_ok=True)

    def _delete(self, file: WeightsFile) -> None:
        for trace in self._traces(file):
            if trace.is_dir():
                shutil.rmtree(trace)
            else:
                trace.unlink(missing_ok=True)
        folder = (self.folder / file.path).parent
        if folder != self.folder and not any(folder.iterdir()):
            folder.rmdir()

    def _has(self, file: WeightsFile) -> bool:
        try:
            return is_whole(file, self.folder)
        except OSError:
            return False

    def _arrived(self, file: WeightsFile) -> int:
        part, _ = leftovers(self.folder / file.path)
        try:
            return part.stat().st_size
        except OSError:
            return 0

    def _traces(self, file: WeightsFile) -> tuple[Path, ...]:
        path = self.folder / file.path
        return path, record_path(path), conversion_folder(path), *leftovers(path)


def source_names(source: str) -> set[str]:
    """Names under which a browser may have saved the file at this address."""
    parts = urlsplit(source)
    places = [unquote(parts.path), *(value for _, value in parse_qsl(parts.query))]
    return {place.rsplit("/", 1)[-1] for place in places} - {""}


def _match(
    path: Path, known: Sequence[WeightsFile], folder: Path, name: str | None
) -> tuple[list[WeightsFile], str]:
    """The files that ``path`` is, and its SHA-256."""
    try:
        size, sha256 = path.stat().st_size, sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    same = [file for file in known if known_sha256(file, folder) == sha256]
    if same:
        return same, sha256
    named = [file for file in known if path.name in _names(file)]
    if name is not None and not named:
        named = [file for file in known if Path(file.path).suffix == path.suffix]
    possible = [f for f in named if known_sha256(f, folder) is None and f.size in (None, size)]
    if len(possible) == 1:
        return possible, sha256
    if possible:
        paths = " or ".join(file.path for file in possible)
        raise WeightsError(f"{path} could be {paths}: import it alone, with --as and the name of its set.")
    if named:
        raise WeightsError(f"{path} is not the known {named[0].path}: its content differs.")
    where = "any set of weights" if name is None else f"the weights '{name}'"
    raise WeightsError(f"{path} is no file of {where}; if it is, under another name, say --as with its set.")


def _names(file: WeightsFile) -> set[str]:
    return {Path(file.path).name}.union(*(source_names(source) for source in file.sources))


@contextmanager
def _told_when_unwritable(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence."""
    try:
        yield
    except OSError as error:
        advice = "make room and run it again" if error.errno == errno.ENOSPC else "check the folder"
        raise WeightsError(f"{path} cannot be written ({error.strerror}); {advice}.") from error
