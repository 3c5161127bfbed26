"""The forms in which a finished job's animation can be had; the rarer ones are made when first asked for."""

import threading
from enum import StrEnum

from jobs import archive, pictures
from jobs.records import Job
from store import ArtifactNotFound, ArtifactStore, folder_of


class Export(StrEnum):
    """A file of a finished job, by its name."""

    PNG = "picture.png"
    GIF = "animation.gif"
    MP4 = "animation.mp4"
    WEBP = "animation.webp"
    ZIP = "frames.zip"


_ROOM = threading.RLock()
"""Only one is made at a time, whoever asks: films take much memory. One is made of another."""

_MAKE = {Export.MP4: pictures.mp4, Export.WEBP: pictures.webp}


def read(store: ArtifactStore, job: Job, export: Export) -> bytes:
    """The file of a succeeded job; one that is not there yet is made and kept with the job's others.

    Raises:
        ArtifactNotFound: the job's files were deleted.
        StoreError: the store cannot be read or written.
    """
    name = name_of(job, export)
    try:
        return store.read(name)
    except ArtifactNotFound:
        if name in (name_of(job, Export.PNG), name_of(job, Export.GIF)):
            raise
        with _ROOM:
            if store.exists(name):  # another made it meanwhile
                return store.read(name)
            return _keep(store, job, export, _made(store, job, export))


def ready(store: ArtifactStore, job: Job, export: Export) -> str:
    """The name of the file of a succeeded job, once it is there: as ``read``, for those who stream it.

    Raises:
        ArtifactNotFound, StoreError: as ``read`` does.
    """
    name = name_of(job, export)
    if not store.exists(name):
        read(store, job, export)
    return name


def name_of(job: Job, export: Export) -> str:
    """The artifact name of the file of a succeeded job, whether it was made already or not."""
    assert job.result is not None
    known = {Export.PNG: job.result.image, Export.GIF: job.result.animation}
    return known.get(export, f"{folder_of(job.result.image)}/{export}")


def _made(store: ArtifactStore, job: Job, export: Export) -> bytes:
    if export is Export.ZIP:
        return archive.from_gif(read(store, job, Export.GIF))
    packed = read(store, job, Export.ZIP)
    return _MAKE[export](archive.images(packed), archive.recipe(packed))


def _keep(store: ArtifactStore, job: Job, export: Export, data: bytes) -> bytes:
    name = name_of(job, export)
    store.put(name, data)
    if job.result is None or not store.exists(job.result.image):  # the job was deleted meanwhile
        store.delete(name)
    return data
