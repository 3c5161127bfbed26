"""What routes share: who asks, the studio they ask, paging, and the problems that they may answer with."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from web import studio
from web.api.models import Problem
from web.permissions import Caller, Right
from web.studio import Studio

Answers = dict[int | str, dict[str, Any]]


def _problem(status: int, description: str) -> Answers:
    return {status: {"model": Problem, "description": description}}


PROBLEMS = (
    _problem(401, "The token is none")
    | _problem(403, "You may not do that")
    | _problem(413, "The body is too large")
    | _problem(422, "It cannot be done as asked")
    | _problem(429, "You have asked too often: Retry-After says when to go on")
    | _problem(503, "The database or the store is away")
)
NOT_YOURS = _problem(403, "It is not yours")
NOT_ALLOWED = _problem(403, "Others may do it")
NOT_FOUND = _problem(404, "There is no such thing")
CONFLICT = _problem(409, "It is not possible now, or not any more")
TOO_MANY = _problem(429, "You have enough waiting jobs, or have asked too often: see Retry-After")


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _person(request: Request) -> str:
    return _caller(request).person


def may(right: Right) -> Any:
    """What a route depends on that only those may use who have the right."""

    def require(request: Request) -> None:
        _caller(request).require(right)

    return Depends(require)


House = Annotated[Studio, Depends(studio.current)]
Who = Annotated[Caller, Depends(_caller)]
Person = Annotated[str, Depends(_person)]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]
PerPage = Annotated[int, Query(ge=1, le=100)]
