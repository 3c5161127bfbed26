"""What a queue under test is asked to do, and with what."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

SUBMITTERS = 20_000
SPEC = {
    "prompt": "a red circle on a blue background",
    "weights": "sandbox",
    "seed": 1,
    "width": 128,
    "steps": 60,
}
RESULT = {
    "image": "picture.png",
    "animation": "animation.gif",
    "seconds": 7.5,
    "numbers": {"score": 0.9},
    "width": 128,
    "height": 128,
}

TakeUp = Callable[[], None]
"""To be called as soon as a job is claimed."""


class Contender(Protocol):
    """One process's hold on a queue; made anew in every process, for connections do not outlive a fork."""

    name: str

    @abstractmethod
    def __init__(self, url: str) -> None:
        """Open the queue at an SQLAlchemy URL, laid by ``create``."""

    @classmethod
    @abstractmethod
    def create(cls, url: str) -> None:
        """Lay an empty queue."""

    @classmethod
    @abstractmethod
    def fill(cls, url: str, count: int) -> None:
        """Have so many jobs wait, by SQL."""

    def enqueue(self) -> object:
        """Ask for a job."""

    def claim(self) -> object:
        """A job, or None where none could be had."""

    def finish(self, claimed: object) -> object:
        """Keep its result."""

    def serve(self, take_up: TakeUp, *, eager: bool) -> None:
        """Wait for jobs and take them up, for ever: as the product does by itself, or at its best setting."""
