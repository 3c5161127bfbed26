"""What to do when memory runs out."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_CPU_REFUSALS = ("can't allocate memory", "not enough memory", "could not create a", "bad_alloc")


class NotEnoughMemory(Exception):
    """The picture does not fit into memory, however few cutouts are looked at together."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator, of a GPU or of the CPU, refused."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_REFUSALS)


@contextmanager
def told_as_one_error() -> Iterator[None]:
    """Turn every way of running out of memory into NotEnoughMemory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise NotEnoughMemory from error


def free_what_is_unused() -> None:
    """Give back to the device, and to the system, what no tensor holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps freed memory otherwise
    if trim is not None:
        trim(0)
