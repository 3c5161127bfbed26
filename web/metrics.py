"""The studio's figures as Prometheus reads them: ``GET /metrics``, for whoever may see the system.

They come from the database when they are asked for: one web process tells of all executors and all web
processes, all of them tell the same, and an executor that dies takes nothing with it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db import DatabaseError
from jobs.figures import Figures, Memory, Quantiles
from jobs.records import ExecutorStatus
from jobs.tallies import CAUSES, Name
from web import studio
from web.health import KEPT_SECONDS, Part
from web.permissions import Caller, Right
from web.problems import STATUS, NotAllowed

_ENDS = ("succeeded", "failed", "cancelled")
_COUNTED = {
    "submitted": ("studio_jobs_submitted", "Jobs that were asked for.", None, ("",)),
    "finished": ("studio_jobs_finished", "Jobs that ended, by how.", "outcome", _ENDS),
    "claims": ("studio_claims", "Attempts that executors started.", None, ("",)),
    "attempts": (
        "studio_attempts",
        "Attempts that ended, by how.",
        "outcome",
        (*_ENDS, "lost", "handed back"),
    ),
    "failures": ("studio_failures", "Jobs that failed, by cause.", "cause", (*CAUSES, "other")),
    "votes": ("studio_votes", "Pairs that were judged.", None, ("",)),
}
"""What ``tallies.Name`` counts: the name here, what it is, and the label with its values."""


def route(parts: Mapping[str, Part]) -> Route:
    """``GET /metrics``; ``parts`` are told as up or down."""
    registry = CollectorRegistry()
    registry.register(_Studio(parts))
    lock, kept = threading.Lock(), dict[str, tuple[float, bytes, str]]()

    def metrics(request: Request) -> Response:
        caller: Caller = request.state.caller
        try:
            caller.require(Right.SEE_SYSTEM)
        except NotAllowed as problem:
            return JSONResponse({"error": str(problem)}, STATUS[NotAllowed])
        accepted = request.headers.get("accept", "")
        with lock:
            taken_at, text, kind = kept.get(accepted, (-KEPT_SECONDS, b"", ""))
            if time.monotonic() - taken_at >= KEPT_SECONDS:
                encode, kind = choose_encoder(accepted)
                text = encode(registry)
                kept.clear()
                kept[accepted] = time.monotonic(), text, kind
        return Response(text, headers={"Content-Type": kind})

    return Route("/metrics", metrics)


class _Studio(Collector):
    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("studio_up", "Whether a part can be used.", labels=["part"])
        able = {name: part.find().ready for name, part in self._parts.items()}
        for name, ready in able.items():
            up.add_metric([name], ready)
        yield up
        if able["database"]:
            try:
                house = studio.current()
                figures, executors = house.watch.figures(), house.executors.all()
            except DatabaseError:  # it went away in between; the next answer says so
                return
            for tell in _TOLD:
                yield tell(figures)
            yield _executors(executors)


def _jobs(figures: Figures) -> Metric:
    gauge = GaugeMetricFamily("studio_jobs", "Jobs that are there, by state.", labels=["state"])
    for state, count in figures.jobs.items():
        gauge.add_metric([state.value], count)
    return gauge


def _oldest(figures: Figures) -> Metric:
    about = "Since the oldest waiting job was asked for, and since the first running one started."
    gauge = GaugeMetricFamily("studio_oldest_job_age_seconds", about, labels=["state"])
    for state, seconds in figures.oldest.items():
        gauge.add_metric([state.value], seconds)
    return gauge


def _total(what: str) -> Callable[[Figures], Metric]:
    name, about, label, kinds = _COUNTED[what]

    def tell(figures: Figures) -> Metric:
        counter = CounterMetricFamily(name, about, labels=[label] if label else [])
        for kind in kinds:
            count = figures.totals[Name(what, kind)]
            counter.add_metric([kind.replace(" ", "_")] if label else [], count)
        return counter

    return tell


def _waiting(figures: Figures) -> Metric:
    about = "From asking to the start, of results of the last hour."
    gauge = GaugeMetricFamily("studio_recent_waiting_seconds", about, labels=["quantile"])
    for quantile, seconds in figures.waiting.items():
        gauge.add_metric([str(quantile)], seconds)
    return gauge


def _drawing(figures: Figures) -> Metric:
    about = "Work on a picture, of results of the last hour."
    return _by_generator("studio_recent_drawing_seconds", about, figures.drawing)


def _step(figures: Figures) -> Metric:
    about = "Work on a step, of results of the last hour."
    return _by_generator("studio_recent_step_seconds", about, figures.step)


def _by_generator(name: str, about: str, found: Mapping[str, Quantiles]) -> Metric:
    gauge = GaugeMetricFamily(name, about, labels=["generator", "quantile"])
    for generator, quantiles in sorted(found.items()):
        for quantile, seconds in quantiles.items():
            gauge.add_metric([generator, str(quantile)], seconds)
    return gauge


def _resident(figures: Figures) -> Metric:
    held = {memory: memory.resident for memory in figures.memory}
    return _by_executor("studio_executor_resident_bytes", "Memory that an executor's process holds.", held)


def _free(figures: Figures) -> Metric:
    free = {memory: memory.free for memory in figures.memory}
    return _by_executor("studio_executor_free_bytes", "Memory that a job may take at an executor.", free)


def _by_executor(name: str, about: str, found: Mapping[Memory, int]) -> Metric:
    gauge = GaugeMetricFamily(name, about, labels=["executor", "device"])
    for memory, size in found.items():
        gauge.add_metric([memory.executor, memory.device], size)
    return gauge


_TOLD = (*(_jobs, _oldest), *map(_total, _COUNTED), *(_waiting, _drawing, _step, _resident, _free))


def _executors(executors: list[ExecutorStatus]) -> Metric:
    about = "Executors on the register, by how they are."
    gauge = GaugeMetricFamily("studio_executors", about, labels=["state"])
    states = [_state(executor) for executor in executors]
    for state in ("drawing", "ready", "troubled", "gone"):
        gauge.add_metric([state], states.count(state))
    return gauge


def _state(executor: ExecutorStatus) -> str:
    if not executor.alive:
        return "gone"
    if executor.trouble:
        return "troubled"
    return "drawing" if executor.job_id else "ready"
