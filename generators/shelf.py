"""Networks that stay in memory for the next job, where it leaves room; least recently used go first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import nn

from generators.contract import Context, GenerationError
from guidance.memory import free_what_is_unused
from weights import catalogue
from weights.catalogue import WeightsEntry
from weights.errors import WeightsError
from weights.files import verify
from weights.memory import is_out_of_memory

SHARE = 0.5
"""Of the memory for drawing, networks that wait for their next job may take."""

T = TypeVar("T")


class Shelf:
    """What jobs leave for the next ones, by key, each with its size in bytes.

    Only ``keys`` is for other threads than the one that takes.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._keys: tuple[Hashable, ...] = ()

    def take(self, key: Hashable, load: Callable[[], tuple[T, int]], others: int | None) -> T:
        """What that key stands for, loaded where it is not there.

        Before that, others leave until they take at most so many bytes, None for any number; where there is
        no memory to load it, all leave.
        """
        self._make_room(key, others)
        try:
            if key not in self._held:
                self._held[key] = self._load(load)
            self._held.move_to_end(key)
        finally:
            self._keys = tuple(self._held)
        kept: T = self._held[key][0]
        return kept

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """What was held after the last taking."""
        return self._keys

    @property
    def size(self) -> int:
        """Bytes of all that is held."""
        return sum(size for _, size in self._held.values())

    def _make_room(self, key: Hashable, others: int | None) -> None:
        waiting = [other for other in self._held if other != key]
        while others is not None and sum(self._held[other][1] for other in waiting) > others:
            del self._held[waiting.pop(0)]
            free_what_is_unused()

    def _load(self, load: Callable[[], tuple[T, int]]) -> tuple[T, int]:
        try:
            return load()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not self._held:
                raise
        self._held.clear()
        free_what_is_unused()
        return load()


_shelf = Shelf()


def memory_of_job(context: Context) -> int | None:
    """Bytes that a job's networks and drawing may take once all others have left; None for all there are."""
    return None if context.memory is None else context.memory + _shelf.size


def networks_of(
    entry: WeightsEntry,
    context: Context,
    load: Callable[[WeightsEntry, Context], tuple[T, Iterable[nn.Module]]],
    need: int,
) -> T:
    """The networks of a set of weights, which ``load`` gives together with the modules they are made of.

    Other networks leave, the least recently used first, until ``need`` bytes are there for these and drawing.

    Raises:
        GenerationError: they are damaged.
    """

    def load_and_weigh() -> tuple[T, int]:
        networks, modules = load(entry, context)
        return networks, sum(map(size_of, modules))

    key = (load, entry.name, context.weights_dir, context.device)
    memory = memory_of_job(context)
    others = None if memory is None else max(0, min(round(SHARE * memory), memory - need))
    try:
        return _shelf.take(key, load_and_weigh, others)
    except WeightsError as error:
        raise GenerationError(str(error)) from error


def loaded(weights_dir: Path, device: str) -> frozenset[str]:
    """The sets of weights from that folder whose networks are in the device's memory. Any thread may ask."""
    keys = cast(tuple[tuple[Any, str, Path, str], ...], _shelf.keys)
    return frozenset(name for _, name, folder, where in keys if (folder, where) == (weights_dir, device))


def installed(name: str, weights_dir: Path) -> WeightsEntry:
    """The set of that name, its files verified. Raises GenerationError: they are missing or damaged."""
    try:
        entry = catalogue.entry(name)
        verify(entry, weights_dir)
    except WeightsError as error:
        raise GenerationError(str(error)) from error
    return entry


def size_of(network: nn.Module) -> int:
    """Bytes of a network's parameters and buffers."""
    tensors = [*network.parameters(), *network.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
