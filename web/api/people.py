"""Who you are here."""

from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from jobs.people import Role
from web.api.answers import Who
from web.permissions import Caller

router = APIRouter(tags=["people"])


class CallerView(BaseModel):
    """Who you are, and what you may."""

    person: str
    role: Role
    rights: list[str] = Field(description='Each completes the sentence "You may …".')

    @classmethod
    def of(cls, caller: Caller) -> Self:
        return cls(person=caller.person, role=caller.role, rights=sorted(caller.rights))


@router.get("/me")
def me(caller: Who) -> CallerView:
    """Who you are here, and what you may."""
    return CallerView.of(caller)
