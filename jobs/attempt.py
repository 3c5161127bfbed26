"""One attempt at one job: frames in, artifacts and progress out."""

import logging
import math
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from jobs import archive, history, pictures
from jobs.animation import Choice
from jobs.checkpoint import Checkpoint
from jobs.clock import utc_now
from jobs.exports import Export
from jobs.heart import Lease
from jobs.painter import FrameLike, Painter
from jobs.queue import LeaseLost, Queue
from jobs.records import Progress, Result, numbers_of
from settings import ExecutorSettings
from store import ArtifactNotFound, ArtifactStore

WORKING_FOLDERS = ("live", "frames", "checkpoint")
"""Where a job's files lie that go when it ends."""

RESULT = "result-"
"""So begins the name of the folder that an attempt publishes in, so that a late one replaces nothing."""

_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    FINISHED = "finished"
    CANCELLED = "cancelled"
    HANDED_BACK = "handed back"


class NothingDrawn(RuntimeError):
    """The generator ended without a frame."""

    def __init__(self) -> None:
        super().__init__("The generator ended without drawing anything.")


class Attempt:
    """Draws the claimed job, from its last checkpoint where it has one.

    Args:
        lease: the claim, and what the heartbeat learns of it.
        queue: told of progress, checkpoints and the end.
        store: takes the frames and the pictures.
        painter: turns the job into frames.
        settings: how often to show and to save.
        stop: when set, the job is handed back after the frame in hand.
    """

    def __init__(
        self,
        lease: Lease,
        queue: Queue,
        store: ArtifactStore,
        painter: Painter,
        settings: ExecutorSettings,
        stop: threading.Event,
    ) -> None:
        self._lease = lease
        self._claim = lease.claim
        self._job = lease.claim.job
        self._queue = queue
        self._store = store
        self._painter = painter
        self._settings = settings
        self._stop = stop
        self._watch = _Watch()
        self._last: FrameLike | None = None
        self._shown: list[int] = []
        self._history: list[dict[str, float]] = []
        self._live: list[str] = []
        self._checkpoint = self._claim.checkpoint
        self._result = f"{RESULT}{secrets.token_hex(4)}"

    def run(self) -> Outcome:
        """Draw until the picture is finished, cancelled or handed back, and tell the queue.

        Raises:
            LeaseLost: another executor may have the job.
            StoreError, DatabaseError: the surroundings fail, not the job.
            Exception: whatever the painter raises.
        """
        with closing(self._painter.generate(self._job, self._resume())) as frames:
            for frame in frames:
                self._take(frame)
                if self._lease.lost:
                    raise LeaseLost(self._claim)
                if self._lease.cancel_requested:
                    self._queue.acknowledge_cancel(self._claim)
                    return Outcome.CANCELLED
                if self._stop.is_set() and frame.step < frame.steps:
                    self._save(frame)
                    self._queue.release(self._claim)
                    return Outcome.HANDED_BACK
        self._finish()
        return Outcome.FINISHED

    def _resume(self) -> bytes | None:
        """Take over from the last checkpoint; returns what the generator goes on from."""
        if self._checkpoint is None:
            return None
        try:
            saved = Checkpoint.from_bytes(self._store.read(self._checkpoint))
            image = pictures.pixels(self._store.read(self._frame_name(saved.step)))
            self._require_frames(saved.shown)
        except (ArtifactNotFound, ValueError) as error:
            _log.warning("starts afresh, for its checkpoint cannot be used: %s", error)
            return None
        self._last = _Seen(image, saved.step, saved.steps, saved.numbers)
        self._shown, self._history = saved.shown, saved.history
        self._watch = _Watch(saved.seconds)
        _log.info("goes on after step %d", saved.step)
        return saved.state

    def _require_frames(self, steps: Sequence[int]) -> None:
        """Raise ArtifactNotFound where a frame of the animation is gone."""
        for name in map(self._frame_name, steps):
            if not self._store.exists(name):
                raise ArtifactNotFound(name)

    def _take(self, frame: FrameLike) -> None:
        choice = Choice(frame.steps, self._settings.animation_frames)
        if choice.takes(frame.step, None if self._last is None else self._last.step):
            self._keep(frame)
            self._shown.append(frame.step)
        self._last = frame
        self._history = history.extended(self._history, frame.step, frame.steps, frame.numbers)
        if self._watch.is_due("live", self._settings.frame_seconds, at_once=True):
            self._show(frame)
        if self._watch.is_due("checkpoint", self._settings.checkpoint_seconds):
            self._save(frame)

    def _keep(self, frame: FrameLike) -> None:
        self._put(f"frames/{frame.step:06d}.png", pictures.png(frame.image))

    def _show(self, frame: FrameLike) -> None:
        name = self._put(f"live/{frame.step:06d}.jpg", pictures.jpeg(frame.image))
        news = Progress(frame.step, frame.steps, name, self._history, utc_now())
        self._lease.cancel_requested |= self._queue.record_progress(self._claim, news)
        if name not in self._live:
            self._live.append(name)
        while len(self._live) > 2:  # whoever read the row a moment ago still finds the frame before
            self._store.delete(self._live.pop(0))

    def _save(self, frame: FrameLike) -> None:
        """Leave a checkpoint; what it names is in the store before it."""
        if frame.checkpoint is None:
            return
        if frame.step not in self._shown:
            self._keep(frame)
        saved = Checkpoint(
            step=frame.step,
            steps=frame.steps,
            shown=self._shown,
            numbers=numbers_of(frame.numbers),
            history=self._history,
            seconds=self._watch.seconds(),
            state=frame.checkpoint(),
        )
        name = self._put(f"checkpoint/{frame.step:06d}", saved.to_bytes())
        self._queue.record_checkpoint(self._claim, name)
        if self._checkpoint not in (None, name):
            self._store.delete(self._checkpoint)
        self._checkpoint = name

    def _finish(self) -> None:
        last = self._last
        if last is None:
            raise NothingDrawn
        if last.step not in self._shown:
            self._keep(last)
            self._shown.append(last.step)
        self._show(last)
        height, width = last.image.shape[:2]
        image, animation = self._publish(last)
        seconds = round(self._watch.seconds(), 3)
        self._queue.finish(
            self._claim, Result(image, animation, seconds, numbers_of(last.numbers), width, height)
        )

    def _publish(self, last: FrameLike) -> tuple[str, str]:
        """The names of the picture and the animation, with the recipe inside; the frames lie beside them."""
        recipe = self._painter.recipe(self._job)
        frames = {step: self._store.read(self._frame_name(step)) for step in self._shown}
        packed = archive.pack(frames, recipe)
        animation = pictures.gif(archive.images(packed), recipe)
        picture = pictures.png(last.image, recipe)
        self._put(f"{self._result}/{Export.ZIP}", packed)
        return (
            self._put(f"{self._result}/{Export.PNG}", picture),
            self._put(f"{self._result}/{Export.GIF}", animation),
        )

    def _put(self, name: str, data: bytes) -> str:
        return self._store.publish(self._job.id, self._job.place(name), data)

    def _frame_name(self, step: int) -> str:
        return f"jobs/{self._job.id}/{self._job.place(f'frames/{step:06d}.png')}"


@dataclass(frozen=True)
class _Seen:
    """The frame that the checkpoint was taken after."""

    image: np.ndarray
    step: int
    steps: int
    numbers: Mapping[str, float]
    checkpoint: None = None


class _Watch:
    """Counts the seconds of work on a job, and says what is due again."""

    def __init__(self, seconds_before: float = 0.0) -> None:
        self._started = time.monotonic() - seconds_before
        self._done: dict[str, float] = {}

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def is_due(self, what: str, every_seconds: float, *, at_once: bool = False) -> bool:
        now = time.monotonic()
        last = self._done.setdefault(what, -math.inf if at_once else now)
        if now - last < every_seconds:
            return False
        self._done[what] = now
        return True
