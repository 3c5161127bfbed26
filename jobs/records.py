"""What the office passes around: frozen records of jobs, their progress, results, leases and executors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """``queued → running → succeeded | failed | cancelled``; only a failed job may be asked for again."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class Progress:
    """How far a running job is.

    ``step`` counts from 0 to ``steps``. ``frame`` is the artifact name of the newest live frame; the one
    before it is kept too, older ones are gone. ``history`` holds at most about 200 points, oldest first,
    each with ``"step"`` and the generator's numbers by name.
    """

    step: int
    steps: int
    frame: str | None
    history: list[dict[str, float]]
    updated_at: datetime


@dataclass(frozen=True)
class Result:
    """What a job left: artifact names of the PNG and the GIF, seconds of work, the last frame's numbers.

    A ``hidden`` one is seen by its owner and the admins only.
    """

    image: str
    animation: str
    seconds: float
    numbers: dict[str, float]
    width: int
    height: int
    hidden: bool = False


@dataclass(frozen=True)
class Job:
    """One thing asked. Times are aware, in UTC.

    ``parameters`` holds the spec without ``prompt`` and ``weights``, which have fields of their own.
    ``attempts`` counts the starts that were not handed back in good order. ``error`` is a sentence for
    people, set when the job failed. ``executor`` names who runs it or ran it last. ``needs_memory``: drawing
    takes about so many bytes, 0 if unknown. ``round`` counts how often it was asked for again.
    """

    id: str
    generator: str
    weights: str
    prompt: str
    parameters: dict[str, Any]
    submitter: str
    state: JobState
    priority: int
    attempts: int
    max_attempts: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    cancel_requested: bool = False
    executor: str | None = None
    needs_memory: int = 0
    round: int = 0
    progress: Progress | None = None
    result: Result | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """All that was asked, as the generator's spec takes it."""
        return {"prompt": self.prompt, "weights": self.weights, **self.parameters}

    def place(self, name: str, round: int | None = None) -> str:
        """Where in the job's folder a file or folder of this round, or another, lies.

        Whoever still removes what an earlier round left behind removes nothing of a later one.
        """
        number = self.round if round is None else round
        return f"again-{number}/{name}" if number else name


@dataclass(frozen=True)
class Claim:
    """A lease on a job. Every write by its holder shows ``token``; ``checkpoint`` is an artifact name."""

    job: Job
    token: str
    checkpoint: str | None = None


@dataclass(frozen=True)
class Position:
    """Where a job stands.

    ``ahead``: jobs that start earlier. ``eta_seconds``: until the picture is done, None if unknown.
    ``obstacle`` says in a sentence why none of the living executors can draw it.
    """

    ahead: int
    eta_seconds: float | None
    obstacle: str | None = None


class AttemptOutcome(StrEnum):
    """How an attempt ended that did not end its job, as ``attempts`` keeps it.

    Its executor fell silent; the generator broke down; the job was handed back in good order; or the job
    had failed with it, and was asked for again.
    """

    LOST = "lost"
    FAILED = "failed"
    HANDED_BACK = "handed back"
    GIVEN_UP = "given up"


@dataclass(frozen=True)
class Pause:
    """Who paused the queue, and when."""

    by: str
    at: datetime


@dataclass(frozen=True)
class Counts:
    """How many jobs wait and how many run, and whether the queue starts any."""

    waiting: int
    running: int
    paused: bool = False


@dataclass(frozen=True)
class Capabilities:
    """What an executor can draw.

    ``weights`` names the sets that it has, None for any; ``loaded`` those of them that are in its memory now.
    ``memory``: bytes that a job may take there, 0 if unknown: then any job fits.
    """

    weights: frozenset[str] | None = None
    loaded: frozenset[str] = frozenset()
    memory: int = 0


ANYTHING = Capabilities()


@dataclass(frozen=True)
class ExecutorStatus:
    """An executor as it last reported; ``trouble`` says in a sentence why it takes no jobs.

    ``resident``: bytes that the process holds.
    """

    id: str
    device: str
    threads: int
    pid: int
    host: str
    started_at: datetime
    seen_at: datetime
    job_id: str | None
    alive: bool
    trouble: str | None = None
    able: Capabilities = ANYTHING
    resident: int = 0


@dataclass(frozen=True)
class Page:
    """One page of jobs; ``total`` counts all that matched."""

    items: list[Job]
    total: int


class Verdict(StrEnum):
    """Which of two results fits its prompt better."""

    LEFT = "left"
    RIGHT = "right"
    NEITHER = "neither"


@dataclass(frozen=True)
class Standing:
    """Votes on one result. ``rating`` is on the Elo scale, 1500 for an average result."""

    job: Job
    wins: int
    losses: int
    neither: int
    rating: float


@dataclass(frozen=True)
class GroupStanding:
    """Votes on all results of one generator with one set of weights."""

    generator: str
    weights: str
    wins: int
    losses: int
    neither: int
    rating: float


@dataclass(frozen=True)
class Standings:
    """Best first."""

    results: list[Standing] = field(default_factory=list)
    groups: list[GroupStanding] = field(default_factory=list)


def numbers_of(values: Mapping[str, float]) -> dict[str, float]:
    """Plain floats by name, as JSON keeps them: the finite ones."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
