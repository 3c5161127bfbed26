"""Files that jobs leave or people hand in, on any fsspec filesystem: ``jobs/<job id>/…``, ``uploads/…``.

A file is written aside and then moved into place, so that whoever finds it under its name finds it whole.
"""

import contextlib
import io
import os
import re
import secrets

import fsspec

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_ASIDE = "aside"


class StoreError(OSError):
    """The store cannot be written or read; the text says what is wrong and what to do."""


class ArtifactNotFound(StoreError):
    """There is no artifact of that name."""


class ArtifactStore:
    """Artifacts under an fsspec URL: a folder (made when missing), or an object store.

    Raises:
        StoreError: the URL names no filesystem that can be used here.
    """

    def __init__(self, url: str) -> None:
        try:
            self._filesystem, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise StoreError(
                f"The artifact store {url} cannot be opened ({error}): check artifact_url."
            ) from error
        self._url = url
        self._root = root.rstrip("/")

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
        self._write(self._path(_checked(name)), data)

    def read(self, name: str) -> bytes:
        """The artifact of that full name. Raises ArtifactNotFound, StoreError, ValueError."""
        try:
            data: bytes = self._filesystem.cat_file(self._path(_checked(name)))
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"There is no artifact {name}: it was deleted, or never was.") from error
        except OSError as error:
            raise self._unusable("read", error) from error
        return data

    def exists(self, name: str) -> bool:
        """Whether there is an artifact of that full name. Raises ValueError."""
        return bool(self._filesystem.isfile(self._path(_checked(name))))

    def delete(self, name: str) -> None:
        """Remove an artifact by its full name, if it is there. Raises StoreError, ValueError."""
        self._remove(self._path(_checked(name)))

    def delete_job(self, job_id: str, *folders: str) -> None:
        """Remove all artifacts of a job, or only those in ``folders``. Raises StoreError, ValueError."""
        for folder in folders or ("",):
            inside = f"{_folder(job_id)}/{_checked(folder)}" if folder else _folder(job_id)
            self._remove(self._path(inside))

    def size(self, job_id: str) -> int:
        """Bytes of all artifacts of a job. Raises StoreError, ValueError."""
        try:
            return int(self._filesystem.du(self._path(_folder(job_id))))
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._unusable("read", error) from error

    def check(self) -> None:
        """Write and remove a small file. Raises StoreError when that fails."""
        probe = self._path(f"{_ASIDE}/probe-{secrets.token_hex(4)}")
        self._write(probe, bytes(64 * 1024))
        self._remove(probe)

    def _write(self, path: str, data: bytes) -> None:
        aside = self._path(f"{_ASIDE}/{secrets.token_hex(8)}")
        try:
            self._filesystem.makedirs(self._path(_ASIDE), exist_ok=True)
            self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._filesystem.open(aside, "wb") as file:
                file.write(data)
                file.flush()
                with contextlib.suppress(
                    AttributeError, io.UnsupportedOperation
                ):  # object stores have no such
                    os.fsync(file.fileno())
            self._filesystem.mv(aside, path)
        except OSError as error:
            self._discard(aside)
            raise self._unusable("written", error) from error

    def _remove(self, path: str) -> None:
        try:
            while self._filesystem.exists(path):
                with contextlib.suppress(FileNotFoundError):  # another executor removes it at the same time
                    self._filesystem.rm(path, recursive=True)
        except OSError as error:
            raise self._unusable("written", error) from error

    def _discard(self, aside: str) -> None:
        with contextlib.suppress(OSError):
            self._filesystem.rm_file(aside)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _unusable(self, verb: str, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        return StoreError(
            error.errno,
            f"The artifact store {self._url} cannot be {verb} ({reason}): free space, or check its rights.",
        )


def _folder(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise ValueError(f"'{job_id}' cannot be the id of a job.")
    return f"jobs/{job_id}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot be the name of an artifact.")
    return name
