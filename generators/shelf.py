"""Networks that stay in memory for the next job, within a budget; least recently used go first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import nn

from generators.contract import Context, GenerationError
from guidance.memory import free_what_is_unused, is_out_of_memory
from weights import catalogue
from weights.catalogue import WeightsEntry
from weights.errors import WeightsError
from weights.files import verify

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

    def take(self, key: Hashable, load: Callable[[], tuple[T, int]], budget: int | None) -> T:
        """What that key stands for, loaded where it is not there; others leave until all fit ``budget``.

        Where there is no memory to load it, all others leave first.
        """
        if key not in self._held:
            self._held[key] = self._load(load)
        self._held.move_to_end(key)
        while budget is not None and len(self._held) > 1 and self.size > budget:
            self._held.popitem(last=False)
            free_what_is_unused()
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


def networks_of(
    entry: WeightsEntry,
    context: Context,
    load: Callable[[WeightsEntry, Context], tuple[T, Iterable[nn.Module]]],
) -> T:
    """The networks of a set of weights, which ``load`` gives together with the modules they are made of.

    Raises:
        GenerationError: they are damaged.
    """

    def load_and_weigh() -> tuple[T, int]:
        networks, modules = load(entry, context)
        return networks, sum(map(size_of, modules))

    key = (load, entry.name, context.weights_dir, context.device)
    budget = None if context.memory is None else round(SHARE * context.memory)
    try:
        return _shelf.take(key, load_and_weigh, budget)
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
