"""Pickled checkpoints become safetensors once: the first load writes a file, which later ones map."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from weights.files import conversion_folder
from weights.reader import read_checkpoint

LOCK, UNFINISHED, WHOLE = "lock", "unfinished.safetensors", "tensors.safetensors"
"""What is in the folder of a conversion."""


def read_converted(source: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors that ``read_checkpoint`` chooses, mapped from the file that the first call writes.

    A checkpoint that has changed since is converted anew. Where nothing can be kept, or another process is
    converting, the tensors are in memory.

    Raises:
        WeightsError: the checkpoint is unreadable, damaged or no such thing.
        OSError: it is missing.
    """
    folder, origin = conversion_folder(source), _origin(source, prefix)
    kept = _map(folder / WHOLE, origin)
    if kept is not None:
        return kept
    tensors = read_checkpoint(source, prefix)
    try:
        _keep(tensors, folder, source, origin)
    except (OSError, SafetensorError, UnicodeError):  # the disk refuses, or safetensors a name
        return tensors
    return _map(folder / WHOLE, origin) or tensors


def _origin(source: Path, prefix: str) -> dict[str, str]:
    """What a conversion says of the checkpoint's version and of what was chosen."""
    status = source.stat()
    return {"bytes": str(status.st_size), "modified_ns": str(status.st_mtime_ns), "prefix": prefix}


def _map(path: Path, origin: dict[str, str]) -> dict[str, Tensor] | None:
    """The tensors of a whole file of that origin, not yet read from the disk."""
    try:
        with safe_open(path, "pt") as file:
            if file.metadata() != origin:
                return None
            return {name: file.get_tensor(name) for name in file.offset_keys()}
    except (OSError, SafetensorError):
        return None


def _keep(tensors: dict[str, Tensor], folder: Path, source: Path, origin: dict[str, str]) -> None:
    """Write the tensors aside, then move them into place. Raises OSError, SafetensorError, UnicodeError.

    They are laid out one after another, each freeing what it was read from, so that memory holds them once.
    Nothing is kept where they would fill the disk, or take more of it than the checkpoint does: any number of
    tensors may share a storage.
    """
    with _alone(folder):
        room = min(source.stat().st_size, shutil.disk_usage(folder).free)
        if sum(tensor.nbytes for tensor in tensors.values()) > room:
            return
        for name, tensor in tensors.items():
            tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        save_file(tensors, folder / UNFINISHED, origin)
        shutil.copymode(source, folder / UNFINISHED)
        with (folder / UNFINISHED).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(folder / UNFINISHED, folder / WHOLE)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Enter the folder, emptied of earlier conversions. Raises OSError where another is under way."""
    folder.mkdir(exist_ok=True)
    with (folder / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.iterdir():
            if left.name != LOCK:
                left.unlink()
        yield
