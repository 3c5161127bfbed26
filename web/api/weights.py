"""The sets of weights: what there is, and, for those allowed to, how to get and remove it."""

from pathlib import Path
from typing import Annotated, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from web.api.answers import NOT_ALLOWED, NOT_FOUND, House, Who, may
from web.api.models import WeightsView
from web.permissions import Right
from web.problems import NothingThere, refusing
from web.studio import Studio, WeightsStatus

CHANGES = NOT_ALLOWED | NOT_FOUND
"""How a request that changes something may fail."""

router = APIRouter(tags=["weights"])


class WeightsSetView(WeightsView):
    """A set of weights, installed or not."""

    generators: list[str] = Field(description="The generators that it makes available.")
    part_of: list[str] = Field(description="Titles of the sets that need it.")
    size_bytes: int = Field(description="What it takes on the disk, about.")
    memory_gb: float = Field(description="What drawing with it needs, about.")
    installed: bool
    downloading: bool
    arrived_bytes: int = Field(description="How much is there; while downloading, poll this.")
    problem: str | None = Field(description="Why the last download failed, as one sentence.")

    @classmethod
    def of(cls, status: WeightsStatus) -> Self:
        entry = status.entry
        return cls(
            **WeightsView.model_validate(entry, from_attributes=True).model_dump(),
            generators=list(entry.generators),
            part_of=list(status.part_of),
            size_bytes=entry.space,
            memory_gb=entry.memory_gb,
            installed=status.installed,
            downloading=status.downloading,
            arrived_bytes=status.arrived,
            problem=status.problem,
        )


class Files(BaseModel):
    """Files on the studio's machine."""

    paths: list[Annotated[str, Field(pattern=r"^[^\x00]+$")]] = Field(min_length=1, max_length=100)


def _manager(house: House, caller: Who) -> Studio:
    caller.require(Right.MANAGE_WEIGHTS)
    return house


Manager = Annotated[Studio, Depends(_manager)]


@router.get("/weights", dependencies=[may(Right.LOOK)])
def list_weights(house: House) -> list[WeightsSetView]:
    """All sets of weights, installed or not."""
    return [WeightsSetView.of(status) for status in house.weights.sets()]


@router.get("/weights/{name}", responses=NOT_FOUND, dependencies=[may(Right.LOOK)])
def get_weights(name: str, house: House) -> WeightsSetView:
    """One set of weights."""
    return _view(house, name)


@router.post("/weights/{name}/download", status_code=202, responses=CHANGES)
def download(name: str, manager: Manager) -> WeightsSetView:
    """Have a set downloaded in the background; what had arrived before is gone on with."""
    _view(manager, name)
    manager.weights.download(name)
    return _view(manager, name)


@router.delete("/weights/{name}/download", responses=CHANGES)
def stop_download(name: str, manager: Manager) -> WeightsSetView:
    """Give a download up; what has arrived is kept for the next one."""
    _view(manager, name)
    manager.weights.stop(name)
    return _view(manager, name)


@router.post("/weights/{name}/verify", responses=CHANGES)
def verify(name: str, manager: Manager) -> WeightsSetView:
    """Read every file of an installed set and compare the checksums."""
    _view(manager, name)
    with refusing():
        manager.weights.verify(name)
    return _view(manager, name)


@router.post("/weights/{name}/import", responses=CHANGES, dependencies=[may(Right.READ_FILES)])
def import_files(name: str, files: Files, manager: Manager) -> WeightsSetView:
    """Copy files that are on the studio's machine already into a set, without a network."""
    _view(manager, name)
    with refusing():
        manager.weights.import_files([Path(path) for path in files.paths], name)
    return _view(manager, name)


@router.delete("/weights/{name}", responses=CHANGES)
def remove(name: str, manager: Manager) -> WeightsSetView:
    """Delete the files of a set, but for those that other installed sets draw with."""
    _view(manager, name)
    with refusing():
        manager.weights.remove(name)
    return _view(manager, name)


def _view(house: Studio, name: str) -> WeightsSetView:
    try:
        return WeightsSetView.of(house.weights.status(name))
    except ValueError as error:
        raise NothingThere(str(error)) from error
