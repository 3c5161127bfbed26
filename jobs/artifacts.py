"""Files that jobs leave, on any fsspec filesystem."""


class StoreError(OSError):
    """The store cannot be written or read; the text says why."""


class ArtifactNotFound(StoreError):
    """There is no artifact of that name."""


class ArtifactStore:
    def __init__(self, url: str) -> None: ...

    def publish(self, job_id: str, name: str, data: bytes) -> str:
        """Returns the full name to read it by: ``jobs/<job_id>/<name>``."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """Raises ArtifactNotFound."""
        raise NotImplementedError

    def exists(self, name: str) -> bool:
        raise NotImplementedError

    def delete_job(self, job_id: str) -> None: ...
