"""The gallery, and the files of a job: its newest frame, its picture, its animation."""

import mimetypes
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from jobs.records import Result
from web.api.answers import NOT_FOUND, Answers, House, PageNumber, PerPage, Person
from web.api.models import JobPage
from web.problems import NothingThere
from web.studio import Studio

A_DAY = "private, max-age=86400"
FOR_EVER = "private, max-age=31536000, immutable"

router = APIRouter(tags=["pictures"])


def file_answer(kind: str, description: str) -> dict[str, Any]:
    """What a route that answers with a file says of itself."""
    found: Answers = {200: {"content": {kind: {}}, "description": description}}
    return {"response_class": Response, "responses": NOT_FOUND | found}


@router.get("/gallery")
def search_gallery(
    house: House,
    person: Person,
    text: Annotated[str, Query(max_length=500)] = "",
    generator: str | None = None,
    weights: str | None = None,
    page: PageNumber = 1,
    per_page: PerPage = 12,
) -> JobPage:
    """Finished pictures, newest first; ``text`` is searched for in the prompts."""
    found = house.gallery.search(text, generator, weights, page, per_page)
    return JobPage.of(found, page, per_page, person)


@router.get("/jobs/{job_id}/frame", **file_answer("image/*", "The newest frame"))
def frame(job_id: str, house: House) -> Response:
    """The newest frame of a job that is being drawn."""
    progress = house.queue.get(job_id).progress
    if progress is None or progress.frame is None:
        raise NothingThere("There is no frame: the job has not been started.")
    return _answer(house, progress.frame, "no-store")


@router.get("/jobs/{job_id}/image.png", **file_answer("image/png", "The finished picture"))
def image(job_id: str, house: House) -> Response:
    """The finished picture; its parameters are written inside the file."""
    return _answer(house, result_of(house, job_id).image, A_DAY)


@router.get("/jobs/{job_id}/animation.gif", **file_answer("image/gif", "The picture forming"))
def animation(job_id: str, house: House) -> Response:
    """How the picture formed; its parameters are written inside the file."""
    return _answer(house, result_of(house, job_id).animation, A_DAY)


def result_of(house: Studio, job_id: str) -> Result:
    """What a job left. Raises JobNotFound, NothingThere."""
    job = house.queue.get(job_id)
    if job.result is None:
        raise NothingThere(f"There is no picture: the job is {job.state.value}.")
    return job.result


def _answer(house: Studio, name: str, cache: str) -> Response:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(house.artifacts.read(name), media_type=kind, headers={"Cache-Control": cache})
