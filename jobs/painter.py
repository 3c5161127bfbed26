"""What the studio hands to an executor: a way to turn a job into frames."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jobs.records import ANYTHING, Capabilities, Job


class FrameLike(Protocol):
    """One moment of a forming picture.

    ``image`` is (height, width, 3) uint8; ``step`` counts to ``steps``; ``numbers`` are losses and scores
    by name; ``checkpoint``, called before the next frame is asked for, gives the bytes to go on from.
    """

    @property
    def image(self) -> np.ndarray: ...
    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def numbers(self) -> Mapping[str, float]: ...
    @property
    def checkpoint(self) -> Callable[[], bytes] | None: ...


@dataclass(frozen=True)
class Painter:
    """How to draw a job.

    Attributes:
        generate: the job's frames, from the start or from the bytes of a checkpoint. The same job gives the
            same frames, also after a checkpoint. Closing the iterator stops the work.
        recipe: what is needed to make the job's picture again, as plain data without times.
        able: what can be drawn now; asked before every job and at every heartbeat, also from another thread.
        hopeless: errors that trying again would not mend; their text is a sentence for people.
    """

    generate: Callable[[Job, bytes | None], Generator[FrameLike, None, None]]
    recipe: Callable[[Job], Mapping[str, Any]]
    able: Callable[[], Capabilities] = lambda: ANYTHING
    hopeless: tuple[type[Exception], ...] = ()
