"""The fast executor, with libraries that log and warn in the middle of its drawing."""

import logging
import warnings
from collections.abc import Generator

from jobs.records import Job
from tests.jobs import fast_executor


def paint(job: Job, resume: bytes | None) -> Generator[fast_executor.FastFrame, None, None]:
    for frame in quiet(job, resume):
        if frame.step == 0:
            logging.getLogger("some.library").info("a line of a library\nover two")
            warnings.warn("a library's warning", stacklevel=1)
        yield frame


quiet, fast_executor.paint = fast_executor.paint, paint

if __name__ == "__main__":
    fast_executor.main()
