"""Submit, look, follow, cancel, delete."""

from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
from fastapi import APIRouter, Response
from sse_starlette import EventSourceResponse, JSONServerSentEvent

from jobs.gallery import NotYours
from jobs.queue import JobNotFound
from jobs.records import Job, JobState
from web.api.answers import (
    CONFLICT,
    NOT_FOUND,
    NOT_YOURS,
    TOO_MANY,
    Answers,
    House,
    PageNumber,
    PerPage,
    Who,
    may,
)
from web.api.models import EventView, JobPage, JobView, NewJob, StarsView, SubmittedView
from web.permissions import Caller, Right
from web.problems import Conflict
from web.studio import Studio

POLL_SECONDS = 0.25
STREAM: Answers = {200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"}}

router = APIRouter(tags=["jobs"])


@router.post("/jobs", status_code=201, responses=NOT_FOUND | TOO_MANY, dependencies=[may(Right.DRAW)])
def submit(new: NewJob, house: House, caller: Who, response: Response) -> SubmittedView:
    """Put a picture into the queue, or several with seeds that follow each other: all or none."""
    submitted = house.submit(new.generator, new.parameters, caller, new.count)
    response.headers["Location"] = f"/api/jobs/{submitted[0].id}"
    return SubmittedView.of_all(_view(house, submitted[0], caller.person), submitted)


@router.get("/jobs", dependencies=[may(Right.LOOK)])
def list_jobs(
    house: House,
    caller: Who,
    mine: bool = False,
    state: JobState | None = None,
    page: PageNumber = 1,
    per_page: PerPage = 20,
) -> JobPage:
    """Jobs of all states, newest first; everybody's, or only your own."""
    whose = caller.person if mine else None
    found = house.queue.search(whose, state, page, per_page, **house.seen_by(caller))
    return JobPage.of(found, page, per_page, caller.person)


@router.get("/jobs/{job_id}", responses=NOT_FOUND, dependencies=[may(Right.LOOK)])
def get_job(job_id: str, house: House, caller: Who) -> JobView:
    """One job, with its place in the queue while it waits."""
    return _view(house, house.job(job_id, caller), caller.person)


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses=NOT_FOUND | STREAM,
    dependencies=[may(Right.LOOK)],
)
async def follow(job_id: str, house: House, caller: Who) -> EventSourceResponse:
    """An event ``job`` for every change of a job, with the job as JSON, until it is finished."""
    first = await anyio.to_thread.run_sync(house.job, job_id, caller)
    return EventSourceResponse(_changes(house, first, caller.person), ping=15)


@router.get("/jobs/{job_id}/history", responses=NOT_FOUND, dependencies=[may(Right.LOOK)])
def history(job_id: str, house: House, caller: Who) -> list[EventView]:
    """All that happened to a job, the first first."""
    return [EventView.of(event) for event in house.chronicle.of(house.job(job_id, caller).id)]


@router.post("/jobs/{job_id}/cancel", responses=NOT_FOUND | NOT_YOURS)
def cancel(job_id: str, house: House, caller: Who) -> JobView:
    """Cancel a waiting job at once, a running one at its next step; a finished one stays as it is."""
    _check_owner(house.job(job_id, caller), caller)
    return _view(house, house.queue.cancel(job_id), caller.person)


@router.post(
    "/jobs/{job_id}/again",
    responses=NOT_FOUND | NOT_YOURS | CONFLICT | TOO_MANY,
    dependencies=[may(Right.DRAW)],
)
def again(job_id: str, house: House, caller: Who) -> JobView:
    """Put a failed job back into the queue, for a fresh start; its history stays."""
    return _view(house, house.again(job_id, caller), caller.person)


@router.delete("/jobs/{job_id}", status_code=204, responses=NOT_FOUND | NOT_YOURS | CONFLICT)
def delete(job_id: str, house: House, caller: Who) -> None:
    """Delete a finished picture, with its animation and votes."""
    job = house.job(job_id, caller)
    _check_owner(job, caller)
    if job.result is None:
        raise Conflict(f"There is no picture to delete: the job is {job.state.value}.")
    house.delete(job_id, caller)


@router.get("/stars", dependencies=[may(Right.LOOK)])
def list_starred(house: House, caller: Who, page: PageNumber = 1, per_page: PerPage = 20) -> JobPage:
    """The pictures that you star, newest first."""
    mine = house.gallery.search(
        page=page, per_page=per_page, starred_by=caller.person, **house.seen_by(caller)
    )
    return JobPage.of(mine, page, per_page, caller.person)


@router.get("/jobs/{job_id}/star", responses=NOT_FOUND, dependencies=[may(Right.LOOK)])
def stars(job_id: str, house: House, caller: Who) -> StarsView:
    """How many people star a picture, and whether you do."""
    return _stars(house, house.job(job_id, caller).id, caller.person)


@router.put("/jobs/{job_id}/star", responses=NOT_FOUND, dependencies=[may(Right.REPORT)])
def star(job_id: str, house: House, caller: Who) -> StarsView:
    """Star a finished picture: it is kept as long as somebody stars it."""
    house.gallery.star(house.job(job_id, caller).id, caller.person)
    return _stars(house, job_id, caller.person)


@router.delete("/jobs/{job_id}/star", responses=NOT_FOUND, dependencies=[may(Right.REPORT)])
def unstar(job_id: str, house: House, caller: Who) -> StarsView:
    """Take your star away."""
    house.gallery.unstar(house.job(job_id, caller).id, caller.person)
    return _stars(house, job_id, caller.person)


def _stars(house: Studio, job_id: str, person: str) -> StarsView:
    return StarsView.model_validate(house.gallery.stars([job_id], person)[job_id], from_attributes=True)


def _view(house: Studio, job: Job, person: str) -> JobView:
    position = house.queue.position(job.id) if job.state is JobState.QUEUED else None
    return JobView.of(job, person, position)


async def _changes(house: Studio, job: Job, person: str) -> AsyncIterator[JSONServerSentEvent]:
    shown: Job | None = None
    while True:
        if job != shown:
            view = await anyio.to_thread.run_sync(_view, house, job, person)
            yield JSONServerSentEvent(view.model_dump(mode="json"), event="job")
        if job.state.is_final:
            return
        shown = job
        await anyio.sleep(POLL_SECONDS)
        try:
            job = await anyio.to_thread.run_sync(house.queue.get, job.id)
        except JobNotFound:  # it was deleted
            return


def _check_owner(job: Job, caller: Caller) -> None:
    if caller.may(Right.MODERATE):
        return
    if job.submitter != caller.person:
        raise NotYours
    caller.require(Right.DRAW)
