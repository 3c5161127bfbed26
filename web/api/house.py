"""What there is: generators, executors, and how long the queue is."""

from fastapi import APIRouter

from web.api.answers import House, Who, may
from web.api.models import ExecutorView, GeneratorView, QueueView
from web.permissions import Right

router = APIRouter(tags=["house"])


@router.get("/generators", dependencies=[may(Right.LOOK)])
def generators(house: House) -> list[GeneratorView]:
    """The ways of generating, their parameters and weights."""
    return [GeneratorView.of(generator) for generator in house.generators.values()]


@router.get("/executors", dependencies=[may(Right.SEE_SYSTEM)])
def executors(house: House) -> list[ExecutorView]:
    """The executors, also those that are gone."""
    return [ExecutorView.of(executor) for executor in house.executors.all()]


@router.get("/queue", dependencies=[may(Right.LOOK)])
def queue(house: House) -> QueueView:
    """How many jobs wait and how many run."""
    return QueueView.model_validate(house.queue.counts(), from_attributes=True)


@router.post("/queue/pause", dependencies=[may(Right.PAUSE)])
def pause(house: House, caller: Who) -> QueueView:
    """Start no job until the queue is resumed; those that run go on."""
    house.queue.pause(caller.person)
    return queue(house)


@router.post("/queue/resume", dependencies=[may(Right.PAUSE)])
def resume(house: House, caller: Who) -> QueueView:
    """Start jobs again."""
    house.queue.resume(caller.person)
    return queue(house)
