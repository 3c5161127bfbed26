"""What do checkpoints of a running job cost? Jobs drawn with one at every step, beside the same with none.

``python -m benchmarks.checkpoints`` draws jobs of many steps with a real queue, store and executor, turn and
turn about. The difference, by the number of checkpoints, is what one costs; by the seconds between two as
shipped (``executor.checkpoint_seconds``) it is their share of the time. Bar: 2 %.
"""

import statistics
import tempfile
import threading
import time

import db
import job_executor
from generators.registry import parse_spec
from jobs.queue import Queue
from jobs.records import JobState
from settings import Settings, load_settings

STEPS = 60
ROUNDS = 3
NEVER = 3600


def main() -> None:
    """Measure and print; see the module's docstring."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = [f"data_dir={folder}", "executor.frame_seconds=3600"]
        draw(load_settings(chosen), seed=0)  # loads the networks
        taken: dict[int, list[float]] = {0: [], NEVER: []}
        for seed in range(ROUNDS):
            for every in taken:
                settings = load_settings([*chosen, f"executor.checkpoint_seconds={every}"])
                taken[every].append(draw(settings, seed))
    each = (statistics.median(taken[0]) - statistics.median(taken[NEVER])) / STEPS
    between = Settings().executor.checkpoint_seconds
    print(f"one checkpoint costs {1000 * each:.1f} ms, {each / between:.2%} of the time every {between:g} s")


def draw(settings: Settings, seed: int) -> float:
    """Seconds that one job takes."""
    db.migrate(settings.database_url)
    engine = db.open_engine(settings.database_url)
    queue = Queue(engine, **vars(settings.queue))
    asked = {"prompt": "a pink flower with a yellow centre", "seed": seed, "steps": STEPS}
    job = queue.enqueue(
        "vqgan_clip", parse_spec("vqgan_clip", asked).model_dump(mode="json"), submitter="benchmark"
    )
    began = time.perf_counter()
    job_executor.open_executor(settings, engine).run(threading.Event(), job_id=job.id)
    assert queue.get(job.id).state is JobState.SUCCEEDED
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
