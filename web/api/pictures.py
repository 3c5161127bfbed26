"""The gallery, and the files of a job: its newest frame, its picture, its animation in several forms."""

import mimetypes
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from jobs import exports
from jobs.exports import Export
from jobs.records import Job
from web import files
from web.api.answers import NOT_FOUND, Answers, House, PageNumber, PerPage, Who, may
from web.api.models import JobPage, Problem
from web.permissions import Caller, Right
from web.problems import NothingThere
from web.studio import Studio

MEDIA_TYPES = {
    Export.PNG: "image/png",
    Export.GIF: "image/gif",
    Export.MP4: "video/mp4",
    Export.WEBP: "image/webp",
    Export.ZIP: "application/zip",
}
PARTS: Answers = {
    206: {"description": "The part that the header `Range` asks for"},
    304: {"description": "You have it: the header `If-None-Match` names it"},
    307: {"description": "It lies at the address that the store signed, for some minutes"},
    416: {"model": Problem, "description": "The part begins beyond its end"},
}
Save = Annotated[bool, Query(description="Have a browser save the file instead of showing it")]
A_DAY = "private, max-age=86400"
FOR_EVER = "private, max-age=31536000, immutable"

router = APIRouter(tags=["pictures"])


def file_answer(kind: str, description: str) -> dict[str, Any]:
    """What a route that answers with a file says of itself, and asks for."""
    found: Answers = {200: {"content": {kind: {}}, "description": description}}
    return {
        "response_class": Response,
        "responses": NOT_FOUND | found,
        "dependencies": [may(Right.LOOK)],
    }


def stored_file(kind: str, description: str) -> dict[str, Any]:
    """What a route says of itself that answers with a file from the store, or a part of it."""
    said = file_answer(kind, description)
    return said | {"responses": said["responses"] | PARTS}


@router.get("/gallery", dependencies=[may(Right.LOOK)])
def search_gallery(
    house: House,
    caller: Who,
    text: Annotated[str, Query(max_length=500)] = "",
    generator: str | None = None,
    weights: str | None = None,
    page: PageNumber = 1,
    per_page: PerPage = 12,
) -> JobPage:
    """Finished pictures, newest first; ``text`` is searched for in the prompts."""
    found = house.gallery.search(text, generator, weights, page, per_page, **house.seen_by(caller))
    return JobPage.of(found, page, per_page, caller.person)


@router.get("/jobs/{job_id}/frame", **file_answer("image/*", "The newest frame"))
def frame(job_id: str, house: House, caller: Who) -> Response:
    """The newest frame of a job that is being drawn."""
    progress = house.job(job_id, caller).progress
    if progress is None or progress.frame is None:
        raise NothingThere("There is no frame: the job has not been started.")
    kind = mimetypes.guess_type(progress.frame)[0]
    data = house.artifacts.read(progress.frame)
    return Response(data, media_type=kind, headers={"Cache-Control": "no-store"})


@router.get("/jobs/{job_id}/image.png", **stored_file(MEDIA_TYPES[Export.PNG], "The finished picture"))
def image(job_id: str, house: House, caller: Who, request: Request, save: Save = False) -> Response:
    """The finished picture; its parameters are written inside the file."""
    return _answer_export(house, caller, request, job_id, Export.PNG, save)


@router.get("/jobs/{job_id}/animation.gif", **stored_file(MEDIA_TYPES[Export.GIF], "The picture forming"))
def animation(job_id: str, house: House, caller: Who, request: Request, save: Save = False) -> Response:
    """How the picture formed; its parameters are written inside the file."""
    return _answer_export(house, caller, request, job_id, Export.GIF, save)


@router.get("/jobs/{job_id}/animation.mp4", **stored_file(MEDIA_TYPES[Export.MP4], "The picture forming"))
def animation_mp4(job_id: str, house: House, caller: Who, request: Request, save: Save = False) -> Response:
    """How the picture formed, as a film; its parameters are written inside the file."""
    return _answer_export(house, caller, request, job_id, Export.MP4, save)


@router.get("/jobs/{job_id}/animation.webp", **stored_file(MEDIA_TYPES[Export.WEBP], "The picture forming"))
def animation_webp(job_id: str, house: House, caller: Who, request: Request, save: Save = False) -> Response:
    """How the picture formed, in all its colours; its parameters are written inside the file."""
    return _answer_export(house, caller, request, job_id, Export.WEBP, save)


@router.get(
    "/jobs/{job_id}/frames.zip", **stored_file(MEDIA_TYPES[Export.ZIP], "The frames of the animation")
)
def frames(job_id: str, house: House, caller: Who, request: Request, save: Save = False) -> Response:
    """The frames of the animation as PNGs numbered by step, with the parameters in `recipe.json`."""
    return _answer_export(house, caller, request, job_id, Export.ZIP, save)


def finished(house: Studio, caller: Caller, job_id: str) -> Job:
    """A job that left a picture. Raises JobNotFound, NothingThere."""
    job = house.job(job_id, caller)
    if job.result is None:
        raise NothingThere(f"There is no picture: the job is {job.state.value}.")
    return job


def _answer_export(
    house: Studio, caller: Caller, request: Request, job_id: str, export: Export, save: bool
) -> Response:
    job = finished(house, caller, job_id)
    return files.answer(
        house,
        request,
        exports.ready(house.artifacts, job, export),
        kind=MEDIA_TYPES[export],
        caching=A_DAY,
        saved_as=files.saved_name(job, Path(export).suffix),
        save=save,
    )
