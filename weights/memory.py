"""Memory that runs out is told from damaged weights: freeing others and loading again may help."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from weights.errors import WeightsError

_CPU_REFUSALS = ("can't allocate memory", "not enough memory", "could not create a", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator, of a GPU or of the CPU, refused."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_REFUSALS)


@contextmanager
def told_unless_out_of_memory(sentence: str) -> Iterator[None]:
    """Turn whatever goes wrong, but for memory that runs out, into a WeightsError that says ``sentence``."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise WeightsError(sentence) from error
