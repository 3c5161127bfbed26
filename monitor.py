"""The device monitor where there is no nvidia-smi: executors and queue, drawn anew every two seconds."""

import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil

import db
from jobs.executors import Executors
from jobs.queue import Queue
from jobs.records import Counts, ExecutorStatus
from settings import Settings, SettingsError, load_settings

REFRESH_SECONDS = 2.0
CLEAR_SCREEN = "\033[H\033[2J\033[3J"
COLUMNS = "{:<28}{:<9}{:>8}{:>7}{:>9}  {}"


def main() -> None:
    """Run until interrupted. Arguments are settings as key=value."""
    try:
        watch(load_settings(sys.argv[1:]))
    except (SettingsError, db.DatabaseError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


def watch(settings: Settings) -> None:
    """Redraw for ever; what hinders one look is shown, and the next one tries again."""
    db.migrate(settings.database_url)
    engine = db.open_engine(settings.database_url)
    queue = Queue(engine, **vars(settings.queue))
    executors = Executors(engine, alive_seconds=settings.queue.lease_seconds)
    while True:
        try:
            lines = report(queue.counts(), executors.all())
        except db.DatabaseError as error:
            lines = iter([str(error)])
        print(CLEAR_SCREEN + "\n".join(lines), flush=True)
        time.sleep(REFRESH_SECONDS)


def report(counts: Counts, executors: list[ExecutorStatus]) -> Iterator[str]:
    """Lines of text: this machine, the queue, then an executor a line."""
    memory = psutil.virtual_memory()
    yield f"{datetime.now():%H:%M:%S}   cores {psutil.cpu_percent():.0f} %   memory {memory.percent:.0f} %"
    yield f"{counts.waiting} waiting, {counts.running} running"
    yield ""
    yield COLUMNS.format("executor", "device", "threads", "cores", "memory", "doing")
    yield from (_row(executor) for executor in executors)
    if not executors:
        yield "No executor has reported yet: start one with ./run_executor.sh."


def _row(executor: ExecutorStatus) -> str:
    cores, memory = _use(executor)
    return COLUMNS.format(executor.id, executor.device, executor.threads, cores, memory, _doing(executor))


def _doing(executor: ExecutorStatus) -> str:
    if not executor.alive:
        silent = datetime.now(UTC) - executor.seen_at
        return f"gone for {silent.total_seconds():.0f} s"
    return executor.trouble or (f"job {executor.job_id}" if executor.job_id else "waits for a job")


_processes: dict[int, psutil.Process] = {}


def _use(executor: ExecutorStatus) -> tuple[str, str]:
    """Cores busy since the last look and memory held; blank for an executor on another machine."""
    if not executor.alive or executor.host != socket.gethostname():
        return "", ""
    try:
        process = _processes.setdefault(executor.pid, psutil.Process(executor.pid))
        return f"{process.cpu_percent() / 100:.1f}", f"{process.memory_info().rss / 2**30:.1f} GiB"
    except psutil.Error:
        return "", ""


if __name__ == "__main__":
    main()
