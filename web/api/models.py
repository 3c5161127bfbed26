"""What the API takes and gives, as JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from jobs.batch import MAX_PICTURES
from jobs.chronicle import Event, EventKind
from jobs.presets import MAX_NAME, Preset
from jobs.records import (
    ExecutorStatus,
    GroupStanding,
    Job,
    JobState,
    Page,
    Position,
    Standing,
    Standings,
    Verdict,
)
from jobs.uploads import Upload
from web.studio import Generator

Seconds = Annotated[float, Field(description="Seconds.")]


class Problem(BaseModel):
    """Why a request was not fulfilled."""

    error: str = Field(description="One sentence: what is wrong and what to do.")


class NewJob(BaseModel):
    """A picture to draw."""

    generator: str = Field(description="A generator's name, as GET /generators lists them.")
    parameters: dict[str, Any] = Field(
        description="The generator's parameters. Only the prompt is needed: a missing seed is drawn, "
        "and everything else has a default."
    )
    count: int = Field(
        default=1,
        ge=1,
        le=MAX_PICTURES,
        description="How many pictures, each a job of its own; their seeds follow each other.",
    )


class ProgressView(BaseModel):
    """How far a job is."""

    step: int
    steps: int
    history: list[dict[str, float]] = Field(
        description='Points of the losses and scores, oldest first, each with its "step".'
    )
    frame: str | None = Field(description="Address of the newest frame.")


class PositionView(BaseModel):
    """Where a waiting job stands."""

    ahead: int = Field(description="Jobs that start earlier.")
    eta_seconds: float | None = Field(description="Seconds until the picture is done; null if unknown.")
    obstacle: str | None = Field(description="Why no living executor can draw it, as one sentence.")


class ResultView(BaseModel):
    """A finished picture."""

    image: str = Field(description="Address of the PNG.")
    animation: str = Field(description="Address of the GIF.")
    mp4: str = Field(description="Address of the animation as MP4.")
    webp: str = Field(description="Address of the animation as WebP.")
    frames: str = Field(description="Address of the animation's frames, a zip of PNGs.")
    width: int
    height: int
    seconds: Seconds
    hidden: bool = Field(description="Whether only you and the admins see it.")
    numbers: dict[str, float] = Field(description="The last losses and scores by name.")


class JobView(BaseModel):
    """A job: what was asked, and how far it is."""

    id: str
    generator: str
    weights: str
    prompt: str
    parameters: dict[str, Any]
    state: JobState
    mine: bool = Field(description="Whether you asked for it, and so may cancel and delete it.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested: bool
    error: str | None = Field(description="Why it failed, as one sentence.")
    position: PositionView | None = Field(default=None, description="Given with a single waiting job.")
    progress: ProgressView | None
    result: ResultView | None

    @classmethod
    def of(cls, job: Job, person: str, position: Position | None = None) -> Self:
        """``job`` as ``person`` sees it."""
        return cls(
            id=job.id,
            generator=job.generator,
            weights=job.weights,
            prompt=job.prompt,
            parameters=job.parameters,
            state=job.state,
            mine=job.submitter == person,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            cancel_requested=job.cancel_requested,
            error=job.error,
            position=None
            if position is None
            else PositionView.model_validate(position, from_attributes=True),
            progress=_progress(job),
            result=_result(job),
        )


class SubmittedView(JobView):
    """The first of the jobs that were submitted together."""

    ids: list[str] = Field(description="Ids of all of them, in the order of their seeds.")

    @classmethod
    def of_all(cls, first: JobView, jobs: Sequence[Job]) -> Self:
        return cls(**dict(first), ids=[job.id for job in jobs])


class StarsView(BaseModel):
    """Who wants a picture kept."""

    count: int = Field(description="How many people star it.")
    mine: bool = Field(description="Whether you do.")


class EventView(BaseModel):
    """Something that happened to a job."""

    kind: EventKind
    at: datetime | None = Field(description="When; null where nobody wrote it down.")
    executor: str | None = Field(description="Who had the job.")
    reason: str | None = Field(description="Why, in a sentence.")
    seconds: float | None = Field(
        description="Seconds of waiting before a start, of work before the end of an attempt."
    )

    @classmethod
    def of(cls, event: Event) -> Self:
        return cls.model_validate(event, from_attributes=True)


class JobPage(BaseModel):
    """One page of jobs, newest first."""

    items: list[JobView]
    total: int = Field(description="How many match on all pages.")
    page: int
    per_page: int

    @classmethod
    def of(cls, found: Page, page: int, per_page: int, person: str) -> Self:
        items = [JobView.of(job, person) for job in found.items]
        return cls(items=items, total=found.total, page=page, per_page=per_page)


class UploadView(BaseModel):
    """A picture that was handed in."""

    image: str = Field(description="What a parameter that is an image takes.")
    width: int
    height: int

    @classmethod
    def of(cls, upload: Upload) -> Self:
        return cls(image=upload.reference, width=upload.width, height=upload.height)


class WeightsView(BaseModel):
    """A set of weights."""

    name: str
    title: str
    draws: str = Field(description="What it can draw.")
    licence: str
    examples: list[str] = Field(description="Prompts that suit it.")
    defaults: dict[str, Any] = Field(description="Its own defaults of the generator's parameters.")
    presets: dict[str, dict[str, Any]] = Field(
        description="Parameters by a name that says what they are for; what they leave open has its default."
    )


class GeneratorView(BaseModel):
    """A way of generating."""

    name: str
    title: str
    summary: str
    parameters: dict[str, Any] = Field(description="JSON schema of its parameters.")
    weights: list[WeightsView]

    @classmethod
    def of(cls, generator: Generator) -> Self:
        return cls(
            name=generator.name,
            title=generator.title,
            summary=generator.summary,
            parameters=generator.spec.model_json_schema(),
            weights=[WeightsView.model_validate(w, from_attributes=True) for w in generator.weights],
        )


class RecipeView(BaseModel):
    """What made a picture; whatever else its file tells comes with it."""

    model_config = ConfigDict(extra="allow")

    generator: str
    spec: dict[str, Any] = Field(description="All parameters, as POST /jobs takes them.")


class NewPreset(BaseModel):
    """Parameters to keep under a name."""

    name: str = Field(max_length=MAX_NAME)
    generator: str
    weights: str
    parameters: dict[str, Any] = Field(
        description="The generator's parameters; prompt and seed are not kept, gaps are filled with defaults."
    )


class PresetView(BaseModel):
    """Parameters under a name: all that make a picture but prompt and seed."""

    number: int
    name: str
    generator: str
    weights: str
    parameters: dict[str, Any]

    @classmethod
    def of(cls, preset: Preset) -> Self:
        return cls.model_validate(preset, from_attributes=True)


class ExecutorView(BaseModel):
    """An executor as it last reported."""

    id: str
    device: str
    threads: int
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    alive: bool
    job_id: str | None
    trouble: str | None = Field(description="Why it takes no jobs, as one sentence.")

    @classmethod
    def of(cls, executor: ExecutorStatus) -> Self:
        return cls.model_validate(executor, from_attributes=True)


class QueueView(BaseModel):
    """How many jobs wait and how many run."""

    waiting: int
    running: int
    paused: bool = Field(description="Whether somebody paused the queue: it starts nothing until resumed.")


class Pair(BaseModel):
    """Two results to compare; null where you have judged every pair there is."""

    left: JobView | None = None
    right: JobView | None = None


class NewVote(BaseModel):
    """Which of two results fits its prompt better."""

    left: str = Field(description="Id of a finished job.")
    right: str = Field(description="Id of another finished job.")
    verdict: Verdict


class Score(BaseModel):
    """Votes counted; ``rating`` is on the Elo scale, 1500 for an average result."""

    wins: int
    losses: int
    neither: int
    rating: float


class ResultScore(Score):
    job: JobView


class GroupScore(Score):
    generator: str
    weights: str


class StandingsView(BaseModel):
    """Best first: single results, and all results of one generator with one set of weights."""

    results: list[ResultScore]
    groups: list[GroupScore]

    @classmethod
    def of(cls, standings: Standings, person: str) -> Self:
        return cls(
            results=[ResultScore(job=JobView.of(s.job, person), **_score(s)) for s in standings.results],
            groups=[
                GroupScore(generator=s.generator, weights=s.weights, **_score(s)) for s in standings.groups
            ],
        )


def _progress(job: Job) -> ProgressView | None:
    if job.progress is None:
        return None
    frame = f"/api/jobs/{job.id}/frame" if job.progress.frame else None
    return ProgressView(
        step=job.progress.step, steps=job.progress.steps, history=job.progress.history, frame=frame
    )


def _result(job: Job) -> ResultView | None:
    if job.result is None:
        return None
    return ResultView(
        image=f"/api/jobs/{job.id}/image.png",
        animation=f"/api/jobs/{job.id}/animation.gif",
        mp4=f"/api/jobs/{job.id}/animation.mp4",
        webp=f"/api/jobs/{job.id}/animation.webp",
        frames=f"/api/jobs/{job.id}/frames.zip",
        width=job.result.width,
        height=job.result.height,
        seconds=job.result.seconds,
        hidden=job.result.hidden,
        numbers=job.result.numbers,
    )


def _score(standing: Standing | GroupStanding) -> Mapping[str, Any]:
    return {name: getattr(standing, name) for name in ("wins", "losses", "neither", "rating")}
