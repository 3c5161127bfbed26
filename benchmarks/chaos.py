"""The studio while its processes are killed: what people were told stays true.

``python -m benchmarks.chaos [--minutes 10] [--database sqlite|postgresql] [--store folder|s3] [--executors 3]
[--seed 1]`` runs ``webapp.py`` itself, so that what is tested is what people run, executors with a quick
painter, and with ``postgresql`` a server of its own. Over HTTP some people ask for pictures and cancel them,
as many as their limit of waiting jobs lets them, while at random moments an executor, the web server or the
database is killed (SIGKILL) and started again, or an executor stands still (SIGSTOP) for longer than its
lease. Then the queue is drained, the store swept, and every promise looked after; exit status 1 and a
sentence tell of one that is broken. All is on this machine and in a temporary folder, and gone at the end.

Two minutes each, on two cores that ten other processes wanted too, so that starting a process again took
longest; every promise was kept:

                                               SQLite          PostgreSQL
    executors killed, frozen                   17, 2           17, 4
    web servers, databases killed              3, -            5, 4
    jobs acknowledged, found                   84, 84          85, 96 (11 whose answer was cut off)
    drawn, cancelled                           68, 16          88, 8
    pictures like those drawn in peace         68 of 68        88 of 88
    drawn by more than one attempt             13              20
    half-written files swept                   3               6
    seconds from a kill to the next start      median 7.5      median 2.9     (a lease: 1.5)
    jobs drawn a minute                        24              33

Ten minutes on PostgreSQL, the machine as busy: 42 kills of the database, 84 of executors, 17 of the web
server, 25 executors frozen; 564 jobs acknowledged, 573 found, 266 drawn (in up to 7 attempts) and like those
drawn in peace, 307 cancelled, none failed; 3.7 seconds from a kill to the next start (median). Every promise
was kept.

Ten minutes on SQLite, the machine as busy: 99 kills of executors, 23 of the web server, 39 executors frozen;
651 jobs acknowledged, 668 found, 439 drawn (in up to 5 attempts) and like those drawn in peace, 229
cancelled, none failed; 2.8 seconds from a kill to the next start (median), 30 half-written files swept. Every
promise was kept.
With the machine to itself it draws 125 a minute instead of 43.

Four minutes on PostgreSQL with the files in an object store (``--store s3 --executors 2``), beside ten other
processes: 9 kills of the database, 22 of executors, 5 of the web server, 6 executors frozen; 142 jobs were
acknowledged and found, 53 drawn (in up to 8 attempts) and like those drawn in peace, 89 cancelled, none
failed, nothing was left to sweep. Every promise was kept.
"""

import argparse
import math
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import httpx

import db
from jobs import exports
from jobs.chronicle import Chronicle, EventKind
from jobs.clock import utc_now
from jobs.exports import Export
from jobs.records import Counts, Job, JobState
from store import ArtifactStore
from tests.jobs.fast_executor import open_executor, open_queue
from tests.jobs.processes import WebServer, load, quick_settings, start_executor, wait_until
from tests.jobs.wholeness import check_whole, sweep_later
from tests.object_store import ObjectStore
from tests.postgresql import Cluster, running_cluster
from web.person import person_of

STEPS = (8, 20, 40)
SEEDS = 4
"""So many pictures are asked for again and again, and compared with the same drawn in peace."""

WAITING = 12
"""How many jobs of one person may wait."""

MOST_JOBS = 5000
"""A person asks for no more."""

DRAIN_SECONDS = 180
TOO_MANY = 429


@dataclass(frozen=True)
class Plan:
    """How long to do what to which studio; ``seed`` draws the faults and what people do."""

    minutes: float = 10
    database: str = "sqlite"
    store: str = "folder"
    executors: int = 3
    people: int = 4
    seed: int = 1


@dataclass
class Report:
    """Figures by what they tell, and a sentence for every promise that is broken."""

    figures: dict[str, object] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def expect(self, kept: bool, sentence: str) -> None:
        if not kept:
            self.broken.append(sentence)

    def __str__(self) -> str:
        rows = [f"  {name:<52}{value}" for name, value in self.figures.items()]
        return "\n".join([*rows, *(f"BROKEN: {sentence}" for sentence in self.broken)])


def main() -> None:
    """Print the figures; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default=Plan.database)
    parser.add_argument("--store", choices=["folder", "s3"], default=Plan.store)
    parser.add_argument("--executors", type=int, default=Plan.executors)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    plan = Plan(**vars(parser.parse_args()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(plan, flush=True)
    with tempfile.TemporaryDirectory(prefix="studio-chaos-") as folder:
        report = run(plan, Path(folder))
    print(report)
    sys.exit(1 if report.broken else 0)


def run(plan: Plan, folder: Path) -> Report:
    """Let it happen, and tell what is left. All processes are gone at the end, whatever happens."""
    with _studio(plan, folder) as studio:
        started, report = time.monotonic(), Report()
        faults = Faults(studio, random.Random(plan.seed))
        with _people(plan, studio) as people:
            faults.strike_for(60 * plan.minutes)
        faults.mend_all()
        _drain(studio, faults, report)
        minutes = (time.monotonic() - started) / 60
        report.figures |= dict(sorted(faults.counts.items()))
        found = studio.jobs_of({person.person for person in people})
        _check_what_people_were_told(people, found, report)
        _check_what_is_left(studio, report)
        drawn = [job for job in found.values() if job.result is not None]
        _compare_pictures(studio, drawn, folder / "in peace", report)
        _tell_times(studio, drawn, minutes, faults.kills, report)
        return report


class Studio:
    """Its processes, and a door of our own to its queue and its store."""

    def __init__(self, settings: list[str], folder: Path, cluster: Cluster | None) -> None:
        loaded = load(settings)
        self.settings = settings
        self.lease_seconds = loaded.queue.lease_seconds
        self.log = folder / "executors.log"
        self.cluster = cluster
        self.engine = db.open_engine(loaded.database_url)
        self.queue = open_queue(loaded)
        self.store = ArtifactStore(loaded.artifact_url, loaded.artifact_options)
        self.web = WebServer(settings, folder / "web.log")
        self.crew: list[subprocess.Popen[bytes]] = []

    def start(self, executors: int) -> None:
        """Start every process, and wait until the web server answers."""
        self.web.start()
        for _ in range(executors):
            self.crew.append(self.start_executor())
        self.web.wait_until_it_answers()

    def start_executor(self) -> subprocess.Popen[bytes]:
        return start_executor(self.settings, self.log)

    def is_at_work(self, executor: subprocess.Popen[bytes]) -> bool:
        """Whether it has got so far as to take jobs; one struck before that would never get there."""
        begun = re.search(rf"-{executor.pid}-\w+ takes jobs", self.log.read_text(errors="replace"))
        return begun is not None and executor.poll() is None

    def leave_in_good_order(self) -> None:
        """Ask every process to end; raises AssertionError or TimeoutExpired where one does not."""
        for executor in self.crew:
            executor.terminate()
        assert [executor.wait(timeout=60) for executor in self.crew] == [0] * len(self.crew)
        self.web.stop()

    def kill(self) -> None:
        self.web.kill()
        for executor in self.crew:
            executor.kill()
            executor.wait()

    def jobs_of(self, people: set[str]) -> dict[str, Job]:
        """All that they asked for, by id."""
        everything = self.queue.search(per_page=1_000_000).items
        return {job.id: job for job in everything if job.submitter in people}


@contextmanager
def _studio(plan: Plan, folder: Path) -> Iterator[Studio]:
    """Running, all data in ``folder``."""
    with ExitStack() as stack:
        settings = quick_settings(folder, f"queue.max_waiting_per_person={WAITING}")
        cluster = None
        if plan.database == "postgresql":
            cluster = stack.enter_context(running_cluster(lasting=True))
            cluster.execute("CREATE DATABASE studio")
            settings.append(f"database_url={cluster.url('studio')}")
        if plan.store == "s3":
            objects = ObjectStore(folder / "objects")
            stack.callback(objects.kill)
            objects.start()
            settings += objects.settings(objects.place())
        db.migrate(load(settings).database_url)
        studio = Studio(settings, folder, cluster)
        stack.callback(studio.kill)
        studio.start(plan.executors)
        yield studio


@dataclass(frozen=True)
class Kill:
    """An executor's end: ``at`` that moment, by this machine's clock."""

    pid: int
    at: datetime


class Faults:
    """Strikes down or freezes one process after the other, and mends what has been away for long enough."""

    def __init__(self, studio: Studio, chance: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self.kills: list[Kill] = []
        self._studio = studio
        self._chance = chance
        self._away: dict[str, tuple[float, Callable[[], None]]] = {}

    def strike_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        faults = {self._kill_executor: 5, self._freeze_executor: 2, self._kill_web_server: 1}
        if self._studio.cluster is not None:
            faults[self._kill_database] = 1
        while time.monotonic() < end:
            (strike,) = self._chance.choices(list(faults), list(faults.values()))
            strike()
            time.sleep(self._chance.uniform(0.3, 2.5))
            self._mend(until=time.monotonic())

    def mend_all(self) -> None:
        self._mend(until=math.inf)
        self._studio.web.wait_until_it_answers()

    def replace_those_who_left(self) -> None:
        """As a supervisor does: an executor that finds no database at its start ends."""
        for number, executor in enumerate(self._studio.crew):
            if f"executor {number}" not in self._away and executor.poll() is not None:
                self.counts["executors that ended by themselves"] += 1
                self._studio.crew[number] = self._studio.start_executor()
        if "web server" not in self._away and not self._studio.web.is_running():
            self.counts["web servers that ended by themselves"] += 1
            self._studio.web.start()

    def _mend(self, until: float) -> None:
        for name, (due, mend) in list(self._away.items()):
            if due <= until:
                mend()
                del self._away[name]
        self.replace_those_who_left()

    def _kill_executor(self) -> None:
        number, executor = self._chance.choice(list(enumerate(self._studio.crew)))
        if f"executor {number}" in self._away or not self._studio.is_at_work(executor):
            return
        self.kills.append(Kill(executor.pid, utc_now()))
        executor.kill()
        executor.wait()
        self.counts["executors killed"] += 1

        def start_again() -> None:
            self._studio.crew[number] = self._studio.start_executor()

        self._stays_away(f"executor {number}", self._chance.uniform(0, 2), start_again)

    def _freeze_executor(self) -> None:
        number, executor = self._chance.choice(list(enumerate(self._studio.crew)))
        if f"executor {number}" in self._away or not self._studio.is_at_work(executor):
            return
        executor.send_signal(signal.SIGSTOP)
        self.counts["executors frozen"] += 1
        seconds = self._studio.lease_seconds * self._chance.uniform(1.3, 2.5)
        self._stays_away(f"executor {number}", seconds, lambda: executor.send_signal(signal.SIGCONT))

    def _kill_web_server(self) -> None:
        if "web server" in self._away or not self._studio.web.answers():
            return
        self._studio.web.kill()
        self.counts["web servers killed"] += 1
        self._stays_away("web server", self._chance.uniform(0, 2), self._studio.web.start)

    def _kill_database(self) -> None:
        assert self._studio.cluster is not None
        if "database" in self._away:
            return
        self._studio.cluster.kill()
        self.counts["databases killed"] += 1
        self._stays_away("database", self._chance.uniform(0, 3), self._studio.cluster.start)

    def _stays_away(self, name: str, seconds: float, mend: Callable[[], None]) -> None:
        self._away[name] = time.monotonic() + seconds, mend


class Person(threading.Thread):
    """Asks and cancels over HTTP until told to stop, and remembers what the web server said.

    ``asked`` are the jobs that it accepted, ``cancelled`` those that it said were cancelled, ``cancelling``
    those that it was told to cancel. ``untold`` counts jobs whose request got no clear answer.
    """

    def __init__(self, number: int, plan: Plan, url: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._secret = f"somebody-in-the-chaos-{number}"
        self.person = person_of(self._secret)
        self.asked: list[str] = []
        self.cancelled: set[str] = set()
        self.cancelling: set[str] = set()
        self.untold = 0
        self.answers: Counter[str] = Counter()
        self._chance = random.Random(f"{plan.seed} {number}")
        self._url = url
        self._stop_asking = stop

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self._secret}"}
        with httpx.Client(base_url=f"{self._url}/api", headers=headers, timeout=20) as client:
            while not self._stop_asking.wait(self._chance.uniform(0.05, 0.5)):
                if self.asked and self._chance.random() < 0.2:
                    self._cancel(client)
                elif len(self.asked) < MOST_JOBS:
                    self._ask(client)

    def _ask(self, client: httpx.Client) -> None:
        count = self._chance.choice((1, 1, 2))
        seed, steps = self._chance.randrange(SEEDS), self._chance.choice(STEPS)
        parameters = {"prompt": "noise", "seed": seed, "steps": steps}
        body = {"generator": "vqgan_clip", "parameters": parameters, "count": count}
        answer = self._post(client, "/jobs", body)
        if answer is not None and answer.status_code == httpx.codes.CREATED:
            self.asked += answer.json()["ids"]
        elif answer is None or answer.status_code != TOO_MANY:
            self.untold += count

    def _cancel(self, client: httpx.Client) -> None:
        job_id = self._chance.choice(self.asked[-WAITING:])
        self.cancelling.add(job_id)
        answer = self._post(client, f"/jobs/{job_id}/cancel")
        if answer is not None and answer.is_success and answer.json()["state"] == JobState.CANCELLED:
            self.cancelled.add(job_id)

    def _post(self, client: httpx.Client, path: str, body: object = None) -> httpx.Response | None:
        try:
            answer = client.post(path, json=body)
        except httpx.TransportError:
            self.answers["none"] += 1
            return None
        self.answers[str(answer.status_code)] += 1
        return answer


@contextmanager
def _people(plan: Plan, studio: Studio) -> Iterator[list[Person]]:
    """Who asks and cancels in the time of the block."""
    stop = threading.Event()
    people = [Person(number, plan, studio.web.url, stop) for number in range(plan.people)]
    for person in people:
        person.start()
    try:
        yield people
    finally:
        stop.set()
        for person in people:
            person.join()


def _drain(studio: Studio, faults: Faults, report: Report) -> None:
    """Wait until all has ended, and have every process leave."""

    def is_drained() -> bool:
        faults.replace_those_who_left()
        return studio.queue.counts() == Counts(waiting=0, running=0) and not studio.queue.leftovers()

    started = time.monotonic()
    try:
        wait_until(is_drained, "all jobs have ended and are tidied up", DRAIN_SECONDS)
        report.figures["seconds until the queue was empty"] = f"{time.monotonic() - started:.1f}"
        studio.leave_in_good_order()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        report.broken.append(f"The studio did not end in good order: {error}")
        studio.kill()


def _check_what_people_were_told(people: list[Person], found: dict[str, Job], report: Report) -> None:
    asked = {job_id for person in people for job_id in person.asked}
    cancelled = {job_id for person in people for job_id in person.cancelled}
    cancelling = {job_id for person in people for job_id in person.cancelling}
    untold = sum(person.untold for person in people)
    states = Counter(job.state for job in found.values())
    answers = sum((person.answers for person in people), Counter[str]())

    report.figures["answers by status"] = ", ".join(f"{n}: {count}" for n, count in sorted(answers.items()))
    report.figures["jobs acknowledged"] = len(asked)
    report.figures["jobs found, of these without a word"] = f"{len(found)}, {len(set(found) - asked)}"
    report.figures["succeeded, cancelled, failed"] = ", ".join(
        str(states[state]) for state in (JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED)
    )
    report.figures["cancels acknowledged while waiting"] = len(cancelled)

    lost = asked - set(found)
    back = [job_id for job_id in cancelled & set(found) if found[job_id].state is not JobState.CANCELLED]
    undrawn = [j.id for j in found.values() if j.id not in cancelling and j.state is not JobState.SUCCEEDED]
    astray = [j.id for j in found.values() if j.state not in (JobState.SUCCEEDED, JobState.CANCELLED)]
    report.expect(not lost, f"Jobs were accepted and are lost: {lost}")
    report.expect(len(found) <= len(asked) + untold, "There are more jobs than were asked for.")
    report.expect(not back, f"Cancelled jobs came back: {back}")
    report.expect(not undrawn, f"Jobs that nobody cancelled were not drawn: {undrawn}")
    report.expect(not astray, f"Jobs ended neither drawn nor cancelled: {astray}")
    report.expect("500" not in answers, "The web server had no sentence for what went wrong: see its log.")


def _check_what_is_left(studio: Studio, report: Report) -> None:
    finished = Counter(re.findall(r"job (\w+): finished", studio.log.read_text(errors="replace")))
    twice = [job_id for job_id, count in finished.items() if count > 1]
    report.expect(not twice, f"Jobs were finished twice: {twice}")

    swept = sweep_later(studio.engine, studio.store)
    shown = [f"{kind}: {len(files)}" for kind, files in swept.orphans.items() if files]
    report.figures["swept"] = ", ".join(shown) or "nothing"
    try:
        check_whole(studio.engine, studio.store)
    except AssertionError as error:
        report.broken.append(f"Something is not whole: {error}")


def _compare_pictures(studio: Studio, drawn: list[Job], folder: Path, report: Report) -> None:
    in_peace = _InPeace(folder)
    other = [job.id for job in drawn if _published(job, studio.store) != in_peace.drawn(job)]
    report.figures["pictures like those drawn in peace"] = f"{len(drawn) - len(other)} of {len(drawn)}"
    report.expect(not other, f"Pictures differ from those drawn in peace: {other}")


class _InPeace:
    """Draws what is asked with the same painter, in a studio that nobody disturbs."""

    def __init__(self, folder: Path) -> None:
        settings = load(quick_settings(folder, "executor.checkpoint_seconds=60"))
        folder.mkdir()
        db.migrate(settings.database_url)
        self._queue, self._store = open_queue(settings), ArtifactStore(settings.artifact_url)
        self._executor = open_executor(settings)
        self._known: dict[str, list[bytes]] = {}

    def drawn(self, like: Job) -> list[bytes]:
        key = str(sorted(like.spec.items(), key=str))
        if key not in self._known:
            job = self._queue.enqueue(like.generator, like.spec, submitter="somebody")
            self._executor.run(threading.Event(), job_id=job.id)
            self._known[key] = _published(self._queue.get(job.id), self._store)
        return self._known[key]


def _published(job: Job, store: ArtifactStore) -> list[bytes]:
    return [exports.read(store, job, export) for export in (Export.PNG, Export.GIF, Export.ZIP)]


def _tell_times(studio: Studio, drawn: list[Job], minutes: float, kills: list[Kill], report: Report) -> None:
    attempts = Counter(job.attempts for job in drawn)
    report.figures["jobs drawn by their attempts"] = ", ".join(
        f"{n}: {attempts[n]}" for n in sorted(attempts)
    )
    report.figures["jobs drawn a minute"] = f"{len(drawn) / minutes:.0f}"
    if seconds := [wait for job in drawn for wait in _waits_after_kills(studio, job, kills)]:
        report.figures["seconds from a kill to the job's next start"] = (
            f"median {median(seconds):.1f}, longest {max(seconds):.1f}, of {len(seconds)}"
        )


def _waits_after_kills(studio: Studio, job: Job, kills: list[Kill]) -> Iterator[float]:
    """Seconds until the job was started again, its lease's time included, for each kill that hit it."""
    killed = {kill.pid: kill.at for kill in kills}
    for event, following in pairwise(Chronicle(studio.engine).of(job.id)):
        if event.kind is EventKind.LOST and following.kind is EventKind.STARTED and event.executor:
            at = killed.get(int(event.executor.rsplit("-", 2)[1]))
            if at is not None and following.at is not None:
                yield (following.at - at).total_seconds()


if __name__ == "__main__":
    main()
