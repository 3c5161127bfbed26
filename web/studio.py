"""What the pages and the API work with: the office's desks and the registry of generators, handed in once."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

from pydantic import BaseModel

from jobs import batch
from jobs.chronicle import Chronicle
from jobs.executors import Executors
from jobs.figures import Watch
from jobs.gallery import Gallery, NotYours
from jobs.moderation import Moderation
from jobs.people import Members
from jobs.presets import Presets
from jobs.queue import JobNotFound, Queue
from jobs.records import Job
from jobs.reports import Reports
from jobs.retention import Retention
from jobs.tokens import Tokens
from jobs.uploads import Upload, Uploads
from jobs.votes import Votes
from store import ArtifactStore
from web.limits import Kind, Limits
from web.permissions import Caller, Right, Rules
from web.problems import refusing


class Weights(Protocol):
    """A set of weights that a generator can use; ``defaults`` win over the spec's, ``presets`` over both."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def draws(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def examples(self) -> Sequence[str]: ...
    @property
    def defaults(self) -> Mapping[str, Any]: ...
    @property
    def presets(self) -> Mapping[str, Mapping[str, Any]]: ...


class Generator(Protocol):
    """A way of generating, as data; ``weights`` come the preferred one first."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def spec(self) -> type[BaseModel]: ...
    @property
    def weights(self) -> Sequence[Weights]: ...


class InstallableWeights(Weights, Protocol):
    """A set of weights, installed or not; ``space`` in bytes, ``ships`` where it came with the project."""

    @property
    def generators(self) -> Sequence[str]: ...
    @property
    def memory_gb(self) -> float: ...
    @property
    def space(self) -> int: ...
    @property
    def ships(self) -> bool: ...


class WeightsStatus(Protocol):
    """How a set is: ``arrived`` bytes are there; ``problem`` says why its last download failed."""

    @property
    def entry(self) -> InstallableWeights: ...
    @property
    def installed(self) -> bool: ...
    @property
    def downloading(self) -> bool: ...
    @property
    def arrived(self) -> int: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def part_of(self) -> Sequence[str]: ...


class WeightsDesk(Protocol):
    """Where sets of weights are installed and removed.

    What cannot be done raises ValueError, a sentence for people; so does an unknown name.
    """

    def sets(self) -> Sequence[WeightsStatus]: ...
    def status(self, name: str) -> WeightsStatus: ...
    def download(self, name: str) -> None: ...
    def stop(self, name: str) -> None: ...
    def verify(self, name: str) -> None: ...
    def import_files(self, paths: Sequence[Path], name: str) -> Sequence[str]: ...
    def remove(self, name: str) -> Sequence[str]: ...


class Seen(TypedDict):
    """Of hidden results, a search finds ``person``'s own, or all."""

    person: str
    all_hidden: bool


@dataclass(frozen=True)
class Studio:
    """``parse_spec`` takes a generator's name and parameters and raises ValueError, a sentence for people.

    ``unknown_words`` takes a set of weights and a prompt. ``memory_need`` takes a generator's name and
    parameters and gives about how many bytes drawing takes, None for parameters that cannot be drawn.
    ``least_memory`` takes a checked spec and gives about how many bytes drawing it takes at least.
    ``signs_links``: files come from the store itself where it signs links, not through this server.
    ``check_database`` raises DatabaseError unless it can be used as it is.
    """

    queue: Queue
    executors: Executors
    artifacts: ArtifactStore
    uploads: Uploads
    gallery: Gallery
    votes: Votes
    presets: Presets
    generators: Mapping[str, Generator]
    parse_spec: Callable[[str, Mapping[str, Any]], BaseModel]
    unknown_words: Callable[[Any, str], Sequence[str]]
    weights: WeightsDesk
    rules: Rules
    limits: Limits
    members: Members
    tokens: Tokens
    reports: Reports
    moderation: Moderation
    memory_need: Callable[[str, Mapping[str, Any]], int | None]
    least_memory: Callable[[Any], int]
    watch: Watch
    retention: Retention
    chronicle: Chronicle
    check_database: Callable[[], None]
    signs_links: bool = False

    def submit(
        self, generator: str, parameters: Mapping[str, Any], caller: Caller, count: int = 1
    ) -> list[Job]:
        """Check what is asked and put it into the queue, ``count`` times with one seed after the other.

        Raises:
            NotAllowed: the caller may not have pictures drawn.
            Refused: it cannot be drawn; the text says what is wrong.
            PromptRefused: it is not drawn here.
            TooMuch, TooManyFromHere: the caller, or the caller's address, has asked for enough.
            UploadNotFound: it refers to a picture that was not handed in.
            TooManyWaiting: the person would have more waiting jobs than one may have; none was accepted.
        """
        caller.require(Right.DRAW)
        spec = self.checked(generator, parameters)
        self.uploads.require(spec)
        asked = batch.of_seeds(spec.model_dump(mode="json"), count)
        self.moderation.check(asked[0])
        self.limits.take(Kind.SUBMISSIONS, caller, count)
        self.limits.check_waiting(caller, count, self.queue.waiting_of)
        return self.queue.enqueue_all(
            generator, asked, submitter=caller.person, needs_memory=self.least_memory(spec)
        )

    def again(self, job_id: str, caller: Caller) -> Job:
        """Put a failed job of the caller's back into the queue.

        Raises:
            JobNotFound: there is no such job.
            NotYours, NotAllowed: the caller may not.
            NotFailed: it did not fail.
            TooMuch, TooManyFromHere, TooManyWaiting: the caller has asked for enough.
        """
        caller.require(Right.DRAW)
        if self.job(job_id, caller).submitter != caller.person:
            raise NotYours
        self.limits.take(Kind.SUBMISSIONS, caller)
        self.limits.check_waiting(caller, 1, self.queue.waiting_of)
        return self.queue.again(job_id)

    def job(self, job_id: str, caller: Caller) -> Job:
        """A job as it stands, if the caller may see it. Raises JobNotFound."""
        job = self.queue.get(job_id)
        hidden = job.result is not None and job.result.hidden
        if hidden and job.submitter != caller.person and not caller.may(Right.MODERATE):
            raise JobNotFound(job_id)
        return job

    def seen_by(self, caller: Caller) -> Seen:
        """What searches take so that they find only what the caller may see."""
        return {"person": caller.person, "all_hidden": caller.may(Right.MODERATE)}

    def hand_in(self, data: bytes, caller: Caller, *, mask: bool = False) -> Upload:
        """Keep a picture. Raises NotAllowed, TooMuch, UploadError, StoreError."""
        caller.require(Right.DRAW)
        self.limits.take(Kind.UPLOADS, caller)
        return self.uploads.add(data, mask=mask)

    def delete(self, job_id: str, caller: Caller) -> None:
        """Delete a result: one's own, or as an admin anybody's. Raises JobNotFound, NotYours, StoreError."""
        self.gallery.delete(job_id, None if caller.may(Right.MODERATE) else caller.person)

    def checked(self, generator: str, parameters: Mapping[str, Any]) -> BaseModel:
        """The whole spec that is asked for. Raises Refused."""
        with refusing():
            return self.parse_spec(generator, parameters)


_lock = threading.Lock()
_open: Callable[[], Studio] | None = None
_studio: Studio | None = None


def use(open_studio: Callable[[], Studio]) -> None:
    """Say how to open the studio; it is opened at first use, and tried again as long as that fails."""
    global _open, _studio
    with _lock:
        _open, _studio = open_studio, None


def current() -> Studio:
    """The open studio. Raises whatever opening it raises: a database that is locked, read-only or newer."""
    global _studio
    with _lock:
        if _studio is None:
            if _open is None:
                raise RuntimeError("web.studio.use() was not called: start the pages with webapp.py.")
            _studio = _open()
        return _studio
