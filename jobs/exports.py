"""The forms in which a finished job's animation can be had; the rarer ones are made when first asked for."""

from enum import StrEnum

from jobs import archive, pictures
from jobs.artifacts import ArtifactNotFound, ArtifactStore
from jobs.records import Job


class Export(StrEnum):
    """A file of a finished job, by its name."""

    PNG = "picture.png"
    GIF = "animation.gif"
    MP4 = "animation.mp4"
    WEBP = "animation.webp"
    ZIP = "frames.zip"


_MAKE = {Export.MP4: pictures.mp4, Export.WEBP: pictures.webp}


def read(store: ArtifactStore, job: Job, export: Export) -> bytes:
    """The file of a succeeded job; one that is not there yet is made and kept with the job's others.

    Raises:
        ArtifactNotFound: the job's files were deleted.
        StoreError: the store cannot be read or written.
    """
    assert job.result is not None
    if export is Export.PNG:
        return store.read(job.result.image)
    if export is Export.GIF:
        return store.read(job.result.animation)
    try:
        return store.read(f"jobs/{job.id}/{export}")
    except ArtifactNotFound:
        return _keep(store, job, export, _made(store, job, export))


def _made(store: ArtifactStore, job: Job, export: Export) -> bytes:
    if export is Export.ZIP:
        return archive.from_gif(read(store, job, Export.GIF))
    packed = read(store, job, Export.ZIP)
    return _MAKE[export](archive.images(packed), archive.recipe(packed))


def _keep(store: ArtifactStore, job: Job, export: Export, data: bytes) -> bytes:
    name = store.publish(job.id, export, data)
    if job.result is None or not store.exists(job.result.image):  # the job was deleted meanwhile
        store.delete(name)
    return data
