"""What is left when everything has ended is as it should be, whatever happened before."""

import copy
import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import PurePosixPath

from PIL import Image, ImageSequence
from sqlalchemy import Engine, select

from db import reading
from db.tables import LEFTOVER, jobs, results
from jobs.archive import RECIPE
from jobs.records import JobState
from jobs.sweep import UPLOADS_STAY, Found, sweep
from store import ASIDE, ArtifactStore

LATER = UPLOADS_STAY + timedelta(hours=1)
"""By then a sweep takes everything that nobody names."""


def check_whole(engine: Engine, store: ArtifactStore) -> None:
    """Assert that every job ended rightly, that every published file is whole, and that nothing is orphaned.

    Sweeps the store as a day later, so nothing may be at work, and no executor be idle on it.
    """
    _check_end_states(engine)
    sweep_later(engine, store)
    found = sweep_later(engine, store)
    left = [file.name for files in found.orphans.values() for file in files]
    assert left == [], f"a second sweep still finds {left}"
    assert found.missing == [], f"results name files that are not there: {found.missing}"
    aside = [file.name for file in store.files(ASIDE)]
    assert aside == [], f"half-written files lie aside: {aside}"
    for file in store.files("jobs"):
        _check_file(file.name, store.read(file.name))


def sweep_later(engine: Engine, store: ArtifactStore) -> Found:
    """Sweep with the store's clock set forward: what is half-written now counts as left."""
    later = copy.copy(store)
    later.now = lambda: store.now() + LATER  # type: ignore[method-assign]
    return sweep(engine, later)


def _check_end_states(engine: Engine) -> None:
    everything = select(
        jobs.c.id, jobs.c.state, jobs.c.error, jobs.c.cancel_requested, results.c.job_id.label("result")
    ).select_from(jobs.outerjoin(results))
    with reading(engine) as connection:
        rows = connection.execute(everything).all()
        untidy = connection.execute(select(jobs.c.id).where(LEFTOVER)).scalars().all()
    assert untidy == [], f"nobody removed the working files of {untidy}"
    for row in rows:
        state = JobState(row.state)
        assert state.is_final, f"job {row.id} is still {state}"
        has_result = row.result is not None
        assert has_result == (state is JobState.SUCCEEDED), f"job {row.id} is {state}, result: {has_result}"
        assert (row.error is not None) == (state is JobState.FAILED), f"job {row.id} is {state}: {row.error}"


def _check_file(name: str, data: bytes) -> None:
    check = _CHECKS.get(PurePosixPath(name).suffix)
    assert data, f"{name} is empty"
    try:
        if check is not None:
            check(data)
    except Exception as error:
        raise AssertionError(f"{name} is not whole: {error}") from error


def _check_picture(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as picture:
        for frame in ImageSequence.Iterator(picture):
            frame.load()


def _check_archive(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.testzip() is None, "a member's checksum is wrong"
        for name in packed.namelist():
            if name != RECIPE:
                _check_picture(packed.read(name))


_CHECKS: Mapping[str, Callable[[bytes], None]] = {
    ".png": _check_picture,
    ".gif": _check_picture,
    ".webp": _check_picture,
    ".zip": _check_archive,
}
