"""What to do when memory runs out."""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import clear_frames
from typing import TypeVar

import torch

from weights.memory import is_out_of_memory

T = TypeVar("T")


class NotEnoughMemory(MemoryError):
    """The picture does not fit into memory, however little of it is computed at a time."""


@contextmanager
def told_as_one_error() -> Iterator[None]:
    """Turn every way of running out of memory into NotEnoughMemory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise NotEnoughMemory from error


def halving(together: int, work: Callable[[int], T]) -> tuple[T, int]:
    """What ``work`` gives that takes ``together`` at a time, or half as many each time memory runs out.

    Returns with it how many it took at last.

    Raises:
        NotEnoughMemory: not even one at a time fits.
    """
    while True:
        try:
            return work(together), together
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if together <= 1:
                raise NotEnoughMemory from error
        together = (together + 1) // 2
        free_what_is_unused()


def let_go(error: BaseException) -> None:
    """Free what the calls that ``error`` ended still hold: their variables live as long as it does."""
    cause: BaseException | None = error
    while cause is not None:
        clear_frames(cause.__traceback__)
        cause = cause.__cause__
    free_what_is_unused()


def free_what_is_unused() -> None:
    """Give back to the device, and to the system, what no tensor holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps freed memory otherwise
    if trim is not None:
        trim(0)
