"""Finished pictures: search, delete, and the samples that a fresh start shows."""

from pathlib import Path

from sqlalchemy import Engine

from jobs.artifacts import ArtifactStore
from jobs.records import Page


class NotYours(PermissionError):
    """Only the person who asked for a result may delete it."""


class Gallery:
    def __init__(self, engine: Engine, store: ArtifactStore) -> None: ...

    def search(
        self,
        text: str = "",
        generator: str | None = None,
        weights: str | None = None,
        page: int = 1,
        per_page: int = 12,
    ) -> Page:
        raise NotImplementedError

    def delete(self, job_id: str, person: str) -> None:
        """Raises JobNotFound, NotYours."""

    def import_samples(self, folder: Path) -> int:
        raise NotImplementedError
