"""Files that jobs leave or people hand in, on any fsspec filesystem: ``jobs/<job id>/…``, ``uploads/…``.

Whoever finds a file under its name finds it whole. A filesystem that can rename gets it aside, under
``aside/…``, and then moved into place; an object store, which cannot, takes it whole or not at all.
"""

import hashlib
import inspect
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import fsspec
from fsspec.implementations.local import LocalFileSystem

from settings import is_secret, secrets_in, without_password

ASIDE = "aside"
UPLOADS = "uploads"
CHUNK_BYTES = 1024 * 1024
"""How much of a file is in memory at once while it is streamed."""

PATIENCE_SECONDS = 30.0
"""How long an object store may take for one request before it counts as down, and for a file besides what its
bytes take at ``SLOWEST``."""

SLOWEST = 50_000
"""Bytes that a store takes in a second, at the least."""

LONG_SECONDS = 600.0
"""How long it may take to list all its files, a thousand with each request, or to send one file of any size;
one that sends nothing is given up long before."""

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_REMOVAL_ROUNDS = 10


class StoreError(OSError):
    """The store cannot be written or read; the text says what is wrong and what to do."""

    def __str__(self) -> str:
        return str(self.strerror or self.args[0])


class ArtifactNotFound(StoreError):
    """There is no artifact of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no artifact {name}: it was deleted, or never was.")


@dataclass(frozen=True)
class Stored:
    """A file as it stands in the store: ``size`` in bytes, ``modified`` by the store's own clock.

    ``tag`` is another one whenever the contents are.
    """

    name: str
    size: int
    modified: datetime
    tag: str


class ArtifactStore:
    """Artifacts under an fsspec URL: a folder (made when missing), or a place in an object store.

    Every method may be called from any thread, and sees at once what other processes did. ``address`` is the
    URL as it may be shown.

    Args:
        url: for example ``/data/artifacts`` or ``s3://bucket/prefix``; the bucket must be there.
        options: handed to the filesystem, for example ``endpoint_url``, ``key`` and ``secret``. Never shown.

    Raises:
        StoreError: the URL names no filesystem that can be used here, or an option cannot be meant so.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        _check_secrets(options or {})
        self.address = without_password(url)
        self._secrets = [*re.findall("//([^/@]*@)", url), *secrets_in(options or {})]
        try:
            self._filesystem, root = fsspec.core.url_to_fs(url, **(_manner_of(url) | dict(options or {})))
        except Exception as error:  # a filesystem raises what it likes at what it cannot be opened with
            raise StoreError(
                f"The artifact store {self.address} cannot be opened ({self._reason(error)}): "
                "check artifact_url and artifact_options."
            ) from error
        self._filesystem.dircache.use_listings_cache = False
        self._root = root.rstrip("/")
        self._is_local = getattr(self._filesystem, "local_file", False)
        self._renames = type(self._filesystem).mv is not fsspec.AbstractFileSystem.mv  # not by copying

    def publish(self, job_id: str, name: str, data: bytes) -> str:
        """Write an artifact, replacing one of that name, and return the full name to read it by.

        Raises:
            StoreError: the disk is full, or the store cannot be written.
            ValueError: the name would lead out of the job's folder.
        """
        full_name = f"{_folder(job_id)}/{_checked(name)}"
        self.put(full_name, data)
        return full_name

    def put(self, name: str, data: bytes) -> None:
        """Write an artifact by its full name, replacing one of that name. Raises StoreError, ValueError."""
        path = self._path(_checked(name))
        with self._explained("written"):
            if self._renames:
                self._write_aside_and_move(path, data)
            else:
                self._call("pipe_file", path, data, seconds=PATIENCE_SECONDS + len(data) / SLOWEST)

    def read(self, name: str) -> bytes:
        """The artifact of that full name. Raises ArtifactNotFound, StoreError, ValueError."""
        path = self._path(_checked(name))
        with self._explained("read", name):
            data: bytes = self._call("cat_file", path, seconds=LONG_SECONDS)
            return data

    def stream(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``end``, a chunk after the other, all of one file.

        Raises ArtifactNotFound, StoreError, ValueError.
        """
        path = self._path(_checked(name))
        with (
            self._explained("read", name),
            self._filesystem.open(path, "rb", block_size=CHUNK_BYTES, cache_type="none") as file,
        ):
            file.seek(start)
            while start < end and (chunk := file.read(min(CHUNK_BYTES, end - start))):
                yield chunk
                start += len(chunk)
            if start < end:
                raise EOFError(f"{name} ends early")

    def look(self, name: str) -> Stored:
        """What there is to know of a file. Raises ArtifactNotFound, StoreError, ValueError."""
        path = self._path(_checked(name))
        with self._explained("read", name):
            info = self._call("info", path)
            if info["type"] != "file":
                raise FileNotFoundError
            return self._stored(info)

    def exists(self, name: str) -> bool:
        """Whether there is an artifact of that full name. Raises StoreError, ValueError."""
        try:
            self.look(name)
        except ArtifactNotFound:
            return False
        return True

    def files(self, folder: str | None = None) -> list[Stored]:
        """All files in a folder, or in any, and its folders, by name; others than artifacts are passed over.

        Raises StoreError, ValueError.
        """
        place = self._root if folder is None else self._path(_checked(folder))
        with self._explained("listed"):
            found = self._call("find", place, detail=True, seconds=LONG_SECONDS)
            files = (self._stored(info) for _, info in sorted(found.items()) if info["type"] == "file")
            return [file for file in files if _NAME.fullmatch(file.name)]

    def signed_link(self, name: str, *, seconds: int, kind: str, disposition: str) -> str | None:
        """An address at which anybody gets the file for some seconds; None where the store gives none.

        Args:
            name: the file's full name.
            seconds: how long the address holds.
            kind: the media type that it answers with, where the store can be told.
            disposition: what its ``Content-Disposition`` says, likewise.

        Raises:
            StoreError, ValueError.
        """
        answers = {"ResponseContentType": kind, "ResponseContentDisposition": disposition}
        told = answers if "s3" in self._filesystem.protocol else {}
        with self._explained("read"):
            try:
                link: str = self._filesystem.sign(self._path(_checked(name)), expiration=seconds, **told)
            except NotImplementedError:
                return None
            return link

    def delete(self, name: str) -> None:
        """Remove an artifact by its full name, if it is there. Raises StoreError, ValueError."""
        path = self._path(_checked(name))
        with self._explained("written"), suppress(FileNotFoundError):
            self._call("rm_file", path)

    def delete_job(self, job_id: str, *folders: str) -> None:
        """Remove all artifacts of a job, or only those in ``folders``. Raises StoreError, ValueError."""
        for folder in folders or ("",):
            inside = f"{_folder(job_id)}/{_checked(folder)}" if folder else _folder(job_id)
            self._remove_folder(self._path(inside))

    def size(self, job_id: str) -> int:
        """Bytes of all artifacts of a job. Raises StoreError, ValueError."""
        with self._explained("read"), suppress(FileNotFoundError):
            return int(self._call("du", self._path(_folder(job_id)), seconds=LONG_SECONDS))
        return 0

    def check(self) -> None:
        """Write and remove a small file. Raises StoreError when that fails."""
        self.now()

    def now(self) -> datetime:
        """The time by the store's own clock, learnt from a small file. Raises StoreError."""
        probe = f"{ASIDE}/probe-{secrets.token_hex(4)}"
        self.put(probe, bytes(64 * 1024))
        moment = self.look(probe).modified
        self.delete(probe)
        return moment

    def _write_aside_and_move(self, path: str, data: bytes) -> None:
        aside = self._path(f"{ASIDE}/{secrets.token_hex(8)}")
        try:
            for file in (aside, path):
                self._filesystem.makedirs(folder_of(file), exist_ok=True)
            with self._filesystem.open(aside, "wb") as writer:
                writer.write(data)
                if self._is_local:
                    writer.flush()
                    os.fsync(writer.fileno())
            self._filesystem.mv(aside, path)
            if self._is_local:
                self._flush_folders_of(path)
        except Exception:
            with suppress(Exception):
                self._filesystem.rm_file(aside)
            raise

    def _flush_folders_of(self, path: str) -> None:
        """So that a power cut takes neither the file's name nor that of a new folder on the way to it."""
        folder = path
        while folder != self._root:
            folder = folder_of(folder)
            with suppress(FileNotFoundError):  # another process removes the job at the same time
                _flush_folder(folder)

    def _remove_folder(self, path: str) -> None:
        with self._explained("written"):
            for _ in range(_REMOVAL_ROUNDS):
                with suppress(FileNotFoundError):  # another process removes it at the same time
                    self._remove(path)
                if not self._is_there(path):
                    return
            raise PermissionError("what was removed is still there")

    def _remove(self, path: str) -> None:
        if isinstance(self._filesystem, LocalFileSystem):
            shutil.rmtree(path, onerror=_unless_gone)
        else:
            self._call("rm", path, recursive=True)

    def _is_there(self, path: str) -> bool:
        try:
            self._call("info", path)
        except FileNotFoundError:
            return False
        return True

    def _call(self, name: str, *arguments: Any, seconds: float | None = None, **more: Any) -> Any:
        method = getattr(self._filesystem, name)
        if inspect.iscoroutinefunction(inspect.unwrap(method)):  # what wraps it is fsspec's and can wait
            more["timeout"] = PATIENCE_SECONDS if seconds is None else seconds
        return method(*arguments, **more)

    def _stored(self, info: Mapping[str, Any]) -> Stored:
        modified = info.get("LastModified") or info.get("mtime") or self._filesystem.modified(info["name"])
        moment = datetime.fromtimestamp(modified, UTC) if isinstance(modified, float | int) else modified
        version = info.get("ETag") or f"{info.get('ino')} {modified}"
        tag = hashlib.sha256(f"{version} {info['size']}".encode()).hexdigest()[:32]
        return Stored(info["name"].removeprefix(f"{self._root}/"), info["size"], moment, tag)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _explained(self, verb: str, name: str | None = None) -> Iterator[None]:
        """Whatever the filesystem raises becomes a sentence; that ``name`` is missing, one of its own."""
        try:
            yield
        except Exception as error:  # not only OSError: clients of object stores have errors of their own
            if name is not None and isinstance(error, FileNotFoundError | IsADirectoryError):
                raise ArtifactNotFound(name) from error
            self._explain(verb, error)

    def _explain(self, verb: str, error: Exception) -> NoReturn:
        what = f"The artifact store {self.address} cannot be {verb} ({self._reason(error)})"
        if self._is_local:
            todo = "free space, or check its rights."
        elif isinstance(error, PermissionError):
            todo = "check the key and the secret (artifact_options), and what they may do there."
        else:
            todo = "see that it runs and has space, and check its URL and its options (artifact_options)."
        raise StoreError(getattr(error, "errno", None), f"{what}: {todo}") from error

    def _reason(self, error: Exception) -> str:
        if isinstance(error, fsspec.exceptions.FSTimeoutError):
            return "no answer in time"
        text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text[:300]


def job_of(name: str) -> str | None:
    """The id of the job to which a file belongs by its full name; None for other files."""
    folder, _, rest = name.partition("/")
    return rest.partition("/")[0] if folder == "jobs" else None


def folder_of(name: str) -> str:
    """The folder that a file lies in, by their full names."""
    return name.rpartition("/")[0]


def _manner_of(url: str) -> dict[str, Any]:
    """What S3 clients do unless ``options`` say otherwise: give up within seconds, sign as is done today."""
    if not url.startswith(("s3://", "s3a://")):
        return {}
    patience = {"connect_timeout": 5, "read_timeout": 10, "retries": {"mode": "standard", "max_attempts": 1}}
    return {"config_kwargs": {**patience, "signature_version": "s3v4"}}


def _check_secrets(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, Mapping):
            _check_secrets(value)
        elif is_secret(str(name)) and isinstance(value, int | float) and not isinstance(value, bool):
            raise StoreError(f"artifact_options has a number as '{name}': write it between quotes, as text.")


def _unless_gone(_function: object, _path: str, error: tuple[Any, Any, Any]) -> None:
    """Another process may remove the same files at the same time: go on with the next."""
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def _flush_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise ValueError(f"'{job_id}' cannot be the id of a job.")
    return f"jobs/{job_id}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot be the name of an artifact.")
    return name
