"""Finished pictures: search, delete, and the samples that a fresh start shows."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import ColumnElement, Connection, Engine, TextClause, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from db import reading, writing
from db.tables import SUCCEEDED, jobs, results, stars
from jobs.clock import Clock, utc_now
from jobs.queue import JobNotFound
from jobs.records import Page
from jobs.rows import job_from, seen_by, select_results, upsert
from jobs.tallies import delete_jobs
from store import ArtifactStore

SAMPLES_SUBMITTER = "studio"
SAMPLE = "sample-"
"""How the id of a sample's job begins. Its files are there before its row."""


class NotYours(PermissionError):
    """Only the person who asked for a result may delete it."""

    def __init__(self) -> None:
        super().__init__("This result is somebody else's: only who asked for it may delete it.")


class SampleError(ValueError):
    """A sample's files cannot be used; the text says which and why."""


class Sample(BaseModel):
    """What ``NAME.json`` says of ``NAME.png`` and ``NAME.gif``; ``parameters`` is the whole spec."""

    model_config = ConfigDict(frozen=True)

    generator: str
    parameters: dict[str, Any]
    numbers: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Stars:
    """``count`` people star a result; ``mine`` where whoever asks is one of them."""

    count: int = 0
    mine: bool = False


class Gallery:
    """The succeeded jobs and their files."""

    def __init__(self, engine: Engine, store: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock

    def search(
        self,
        text: str = "",
        generator: str | None = None,
        weights: str | None = None,
        page: int = 1,
        per_page: int = 12,
        *,
        starred_by: str | None = None,
        person: str | None = None,
        all_hidden: bool = False,
    ) -> Page:
        """Results newest first, whose prompts hold every word of ``text``; pages count from 1.

        Of hidden ones there are ``person``'s own only, or all of them.
        """
        wanted = _matches(text, generator, weights)
        if starred_by is not None:
            theirs = (stars.c.job_id == jobs.c.id) & (stars.c.person == starred_by)
            wanted.append(select(stars.c.job_id).where(theirs).exists())
        wanted += [] if all_hidden else [seen_by(person)]
        items = (
            select_results()
            .where(*wanted)
            .order_by(jobs.c.finished_at.desc(), jobs.c.number.desc())
            .limit(per_page)
            .offset((page - 1) * per_page)
        )
        with reading(self._engine) as connection:
            counted = select(func.count()).select_from(jobs.join(results)).where(*wanted)
            total = connection.execute(counted).scalar_one()
            return Page([job_from(row) for row in connection.execute(items)], total)

    def delete(self, job_id: str, person: str | None) -> None:
        """Remove a result, its votes and its files, for ``person``; None may remove everybody's.

        Raises:
            JobNotFound: there is no such result.
            NotYours: somebody else asked for it.
            StoreError: the files could not be removed; the result is gone from the gallery all the same.
        """
        with writing(self._engine) as connection:
            owner = connection.execute(
                select(jobs.c.submitter).where(jobs.c.id == job_id, SUCCEEDED).with_for_update()
            ).scalar_one_or_none()
            if owner is None:
                raise JobNotFound(job_id)
            if person not in (None, owner):
                raise NotYours
            delete_jobs(connection, [job_id])
        self._store.delete_job(job_id)

    def star(self, job_id: str, person: str) -> None:
        """Keep a result for ever, as long as somebody stars it. Raises JobNotFound."""
        with writing(self._engine) as connection:
            result = select(jobs.c.id).where(jobs.c.id == job_id, SUCCEEDED).with_for_update(key_share=True)
            if connection.execute(result).first() is None:
                raise JobNotFound(job_id)
            upsert(connection, stars, {"job_id": job_id, "person": person}, {"created_at": self._clock()})

    def unstar(self, job_id: str, person: str) -> None:
        """Take the person's star away, where there is one."""
        theirs = (stars.c.job_id == job_id) & (stars.c.person == person)
        with writing(self._engine) as connection:
            connection.execute(delete(stars).where(theirs))

    def stars(self, job_ids: Sequence[str], person: str) -> dict[str, Stars]:
        """How many people star each of these, and whether this one does."""
        given = select(stars.c.job_id, stars.c.person).where(stars.c.job_id.in_(job_ids))
        with reading(self._engine) as connection:
            people: dict[str, set[str]] = {job_id: set() for job_id in job_ids}
            for row in connection.execute(given):
                people[row.job_id].add(row.person)
        return {job_id: Stars(len(who), person in who) for job_id, who in people.items()}

    def import_samples(self, folder: Path) -> int:
        """Show what ``folder`` holds, unless it is shown already; returns how many were new.

        A sample is ``NAME.json`` (see ``Sample``) beside ``NAME.png`` and ``NAME.gif``, at any depth. The
        first by name is shown first.

        Raises:
            SampleError: a sample's files are missing or cannot be read.
        """
        now = self._clock()
        recipes = sorted(folder.rglob("*.json"))
        return sum(self._import(recipe, now - timedelta(seconds=rank)) for rank, recipe in enumerate(recipes))

    def _import(self, recipe: Path, when: datetime) -> bool:
        try:
            sample = Sample.model_validate(json.loads(recipe.read_bytes()))
            image, animation = (
                recipe.with_suffix(".png").read_bytes(),
                recipe.with_suffix(".gif").read_bytes(),
            )
            width, height = Image.open(io.BytesIO(image)).size
        except (OSError, ValueError, ValidationError) as error:
            raise SampleError(
                f"The sample {recipe.name} cannot be shown ({error}): mend or remove it."
            ) from error
        job_id = SAMPLE + hashlib.sha256(image).hexdigest()[:16]
        with reading(self._engine) as connection:
            if _is_known(connection, job_id):
                return False
        result = {
            "job_id": job_id,
            "image": self._store.publish(job_id, "picture.png", image),
            "animation": self._store.publish(job_id, "animation.gif", animation),
            "seconds": sample.seconds,
            "numbers": sample.numbers,
            "width": width,
            "height": height,
        }
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(jobs), _sample_row(job_id, sample, when))
                connection.execute(insert(results), result)
        except IntegrityError:  # another process has shown it meanwhile
            return False
        return True


def _matches(text: str, generator: str | None, weights: str | None) -> list[ColumnElement[bool] | TextClause]:
    wanted: list[ColumnElement[bool] | TextClause] = [SUCCEEDED]
    wanted += [jobs.c.prompt.icontains(word, autoescape=True) for word in text.split()]
    if generator is not None:
        wanted.append(jobs.c.generator == generator)
    if weights is not None:
        wanted.append(jobs.c.weights == weights)
    return wanted


def _is_known(connection: Connection, job_id: str) -> bool:
    return connection.execute(select(jobs.c.number).where(jobs.c.id == job_id)).first() is not None


def _sample_row(job_id: str, sample: Sample, when: datetime) -> dict[str, Any]:
    parameters = dict(sample.parameters)
    return {
        "id": job_id,
        "generator": sample.generator,
        "weights": parameters.pop("weights"),
        "prompt": parameters.pop("prompt"),
        "parameters": parameters,
        "submitter": SAMPLES_SUBMITTER,
        "state": "succeeded",
        "priority": 0,
        "turn": 0,
        "attempts": 0,
        "max_attempts": 1,
        "created_at": when,
        "finished_at": when,
        "cancel_requested": False,
        "untidy": False,
    }
