"""What is wrong with a picture: reports, and what admins do about them."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from jobs.reports import MAX_REASON, Reported
from web.api.answers import CONFLICT, NOT_FOUND, House, Person, Who, may
from web.api.models import JobView
from web.permissions import Right

router = APIRouter(tags=["reports"])


class NewReport(BaseModel):
    """What is wrong with a picture."""

    reason: Annotated[str, Field(max_length=MAX_REASON)]


class ReportView(BaseModel):
    """What one person finds wrong."""

    reason: str
    created_at: datetime


class ReportedView(BaseModel):
    """A picture with the reports on it that nobody has settled."""

    job: JobView
    reports: list[ReportView]

    @classmethod
    def of(cls, reported: Reported, person: str) -> Self:
        told = [ReportView.model_validate(report, from_attributes=True) for report in reported.reports]
        return cls(job=JobView.of(reported.job, person), reports=told)


@router.post(
    "/jobs/{job_id}/reports",
    status_code=201,
    responses=NOT_FOUND | CONFLICT,
    dependencies=[may(Right.REPORT)],
)
def report(job_id: str, new: NewReport, house: House, caller: Who) -> NewReport:
    """Tell the admins of a finished picture; once a person."""
    house.reports.add(house.job(job_id, caller).id, caller.person, new.reason)
    return new


@router.get("/reports", dependencies=[may(Right.SETTLE_REPORTS)])
def open_reports(house: House, person: Person) -> list[ReportedView]:
    """Pictures with reports that nobody has settled, the longest waiting first. For admins."""
    return [ReportedView.of(reported, person) for reported in house.reports.open()]


@router.post(
    "/jobs/{job_id}/reports/settle",
    status_code=204,
    responses=NOT_FOUND,
    dependencies=[may(Right.SETTLE_REPORTS)],
)
def settle(job_id: str, house: House, caller: Who) -> None:
    """Note that all reports on a picture are dealt with. For admins."""
    house.reports.settle(house.job(job_id, caller).id)


@router.post("/jobs/{job_id}/hide", status_code=204, responses=NOT_FOUND, dependencies=[may(Right.MODERATE)])
def hide(job_id: str, house: House) -> None:
    """Take a picture out of everybody's sight but its owner's and the admins'. For admins."""
    house.reports.hide(job_id, hidden=True)


@router.post("/jobs/{job_id}/show", status_code=204, responses=NOT_FOUND, dependencies=[may(Right.MODERATE)])
def show(job_id: str, house: House) -> None:
    """Show a hidden picture again. For admins."""
    house.reports.hide(job_id, hidden=False)
