"""Networks wait on the shelf where there is room; the least recently used leave first."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from generators.shelf import Shelf, size_of


class Loads:
    """Counts how often each set is loaded; every set weighs ``size`` bytes."""

    def __init__(self, size: int = 10) -> None:
        self.size, self.names = size, list[str]()

    def of(self, name: str) -> Callable[[], tuple[str, int]]:
        def load() -> tuple[str, int]:
            self.names.append(name)
            return name.upper(), self.size

        return load


def test_what_is_there_is_not_loaded_again() -> None:
    shelf, loads = Shelf(), Loads()
    assert [shelf.take("a", loads.of("a"), None) for _ in range(3)] == ["A"] * 3
    assert loads.names == ["a"]


def test_the_least_recently_used_leaves_first() -> None:
    shelf, loads = Shelf(), Loads()
    for name in "abac":
        shelf.take(name, loads.of(name), 10)
    assert ("a" in shelf, "b" in shelf, "c" in shelf) == (True, False, True)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=12), st.integers(0, 60))
def test_the_others_take_no_more_than_they_may(names: list[str], others: int) -> None:
    shelf, loads = Shelf(), Loads()
    for name in names:
        assert shelf.take(name, loads.of(name), others) == name.upper()
        assert shelf.size <= others + 10
        assert name in shelf


def test_others_leave_before_it_is_loaded() -> None:
    shelf, loads = Shelf(), Loads()
    for name in "ab":
        shelf.take(name, loads.of(name), None)

    def load() -> tuple[str, int]:
        assert ("a" in shelf, "b" in shelf) == (False, True)
        return "C", 10

    shelf.take("c", load, 10)


def test_what_left_is_not_told_as_held_where_loading_fails() -> None:
    shelf, loads = Shelf(), Loads()
    shelf.take("a", loads.of("a"), None)

    def load() -> tuple[str, int]:
        raise RuntimeError("the file is damaged")

    with pytest.raises(RuntimeError, match="damaged"):
        shelf.take("b", load, 0)
    assert shelf.keys == ()


def test_where_memory_is_short_all_others_leave_and_it_is_tried_again() -> None:
    shelf, loads = Shelf(), Loads()
    shelf.take("a", loads.of("a"), None)

    def load() -> tuple[str, int]:
        if "a" in shelf:
            raise torch.OutOfMemoryError
        return "B", 10

    assert shelf.take("b", load, None) == "B"
    assert "a" not in shelf


def test_other_errors_leave_the_shelf_as_it_is() -> None:
    shelf, loads = Shelf(), Loads()
    shelf.take("a", loads.of("a"), None)

    def load() -> tuple[str, int]:
        raise RuntimeError("the file is damaged")

    with pytest.raises(RuntimeError, match="damaged"):
        shelf.take("b", load, None)
    assert "a" in shelf


def test_a_networks_size_is_that_of_its_tensors() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert size_of(network) == 4 * (3 * 4 + 4 + 4 + 4 + 4 + 4) + 8
    assert size_of(network.half()) == 2 * (3 * 4 + 4 + 4 + 4 + 4 + 4) + 8


def test_what_is_held_can_be_read_after_every_taking() -> None:
    shelf, loads = Shelf(), Loads()
    assert shelf.keys == ()
    for name in "abc":
        shelf.take(name, loads.of(name), 10)
    assert shelf.keys == ("b", "c")
