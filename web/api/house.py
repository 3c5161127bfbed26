"""What there is: generators, executors, and how long the queue is."""

from fastapi import APIRouter

from web.api.answers import House, may
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
