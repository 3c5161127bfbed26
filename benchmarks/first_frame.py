"""How long does a person wait? From submit to claim, to the first frame, to the finished GIF.

``python benchmarks/first_frame.py`` starts a real executor on a fresh database, lets it draw one job to load
its networks, then submits jobs at the defaults one by one and prints each wait in seconds. Bars on two
cores: first frame within 2 s of the claim, finished within 15 s of the submit.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import db
from generators.registry import parse_spec
from jobs.queue import Queue
from jobs.records import Job, JobState
from settings import ROOT, load_settings

PROMPT = "a woman with long blond hair and glasses"
LOOK_EVERY = 0.01


def main() -> None:
    """Start, warm up, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen = [f"data_dir={folder}"]
        settings = load_settings(chosen)
        db.migrate(settings.database_url)
        queue = Queue(db.open_engine(settings.database_url), **vars(settings.queue))
        executor = subprocess.Popen(
            [sys.executable, ROOT / "job_executor.py", *chosen], stderr=subprocess.DEVNULL
        )
        try:
            measure(queue, seed=0)
            rows = [measure(queue, seed) for seed in range(1, options.jobs + 1)]
        finally:
            executor.terminate()
            executor.wait()
    for name, column in zip(("claim", "first frame", "finished"), zip(*rows, strict=True), strict=True):
        print(f"{name:12} median {statistics.median(column):6.2f} s   longest {max(column):6.2f} s")


def measure(queue: Queue, seed: int) -> tuple[float, float, float]:
    """Seconds from submit to claim, from claim to the first frame shown, from submit to the finished GIF."""
    spec = parse_spec("vqgan_clip", {"prompt": PROMPT, "seed": seed})
    job = queue.enqueue("vqgan_clip", spec.model_dump(mode="json"), submitter="benchmark")
    submitted = time.perf_counter()
    claimed = _wait(queue, job, lambda now: now.started_at is not None)
    shown = _wait(queue, job, lambda now: now.progress is not None or now.state.is_final)
    finished = _wait(queue, job, lambda now: now.state.is_final)
    if queue.get(job.id).state is not JobState.SUCCEEDED:
        sys.exit(f"The job ended as {queue.get(job.id).state}: {queue.get(job.id).error}")
    return claimed - submitted, shown - claimed, finished - submitted


def _wait(queue: Queue, job: Job, reached: Callable[[Job], bool]) -> float:
    while not reached(queue.get(job.id)):
        time.sleep(LOOK_EVERY)
    return time.perf_counter()


if __name__ == "__main__":
    main()
