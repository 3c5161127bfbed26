"""A warm executor: what waits on the shelf makes room, and nothing is counted twice."""

from pathlib import Path

import pytest
import torch
from torch import nn

from generators import shelf
from generators.contract import Context, GenerationError
from generators.memory import GIGA, cutouts_together, memory_need
from generators.registry import parse_spec
from generators.shelf import Shelf, memory_of_job, networks_of
from weights import catalogue
from weights.catalogue import MemoryNeed, WeightsEntry

MEGA = 10**6
SPEC = parse_spec("vqgan_clip", {"prompt": "x", "seed": 1, "cutouts": 10})
"""Draws 128 by 128 pixels."""


class Machine:
    """Memory of so many bytes, which networks on the shelf take."""

    def __init__(self, whole: int) -> None:
        self.whole, self.loads = whole, list[str]()

    def draw(self, entry: WeightsEntry) -> int:
        """Take the networks that ``SPEC`` needs; how many cutouts are looked at together."""
        context = Context("cpu", Path("weights"), memory=self.free)
        cutouts = cutouts_together(SPEC, entry, memory_of_job(context))
        need = memory_need(SPEC, entry, cutouts)
        networks_of(entry, context, self.load, need)
        assert need <= self.free + networks_size(entry)
        return cutouts

    def load(self, entry: WeightsEntry, _: Context) -> tuple[str, list[nn.Module]]:
        assert networks_size(entry) <= self.free
        self.loads.append(entry.name)
        held = nn.Module()
        held.register_buffer("bytes", torch.empty(networks_size(entry), dtype=torch.uint8, device="meta"))
        return entry.name, [held]

    @property
    def free(self) -> int:
        return self.whole - shelf._shelf.size


def networks_size(entry: WeightsEntry) -> int:
    return round(GIGA * entry.memory.networks)


def weights(name: str, networks: float = 0.4) -> WeightsEntry:
    """A set whose cutouts take 10 MB each and whose picture takes nothing."""
    return catalogue.entry("sandbox").model_copy(
        update={"name": name, "memory": MemoryNeed(networks=networks, cutout=0.01)}
    )


@pytest.fixture(autouse=True)
def empty_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_shelf", Shelf())


def test_networks_that_are_loaded_are_not_counted_again() -> None:
    machine = Machine(600 * MEGA)
    assert [machine.draw(weights("a")) for _ in range(3)] == [10, 10, 10]
    assert machine.loads == ["a"]


def test_those_that_wait_leave_for_those_that_are_needed() -> None:
    machine = Machine(600 * MEGA)
    assert [machine.draw(weights(name)) for name in "aba"] == [10, 10, 10]
    assert machine.loads == ["a", "b", "a"]


def test_no_more_leave_than_have_to() -> None:
    machine = Machine(1000 * MEGA)
    for name in "abc":
        machine.draw(weights(name, networks=0.2))
    machine.draw(weights("d", networks=0.6))
    assert held() == {"c", "d"}  # 200 and 600 MB, and another 100 for cutouts


def test_a_refusal_is_one_whatever_waits_and_leaves_all_where_it_is() -> None:
    machine = Machine(600 * MEGA)
    machine.draw(weights("a"))
    with pytest.raises(GenerationError, match=r"needs about 0\.7 GB of memory and there are 0\.6 GB"):
        machine.draw(weights("b", networks=0.7))
    assert held() == {"a"}


def test_how_many_cutouts_fit_does_not_depend_on_what_waits() -> None:
    alone = Machine(450 * MEGA).draw(weights("a"))
    machine = Machine(450 * MEGA)
    machine.draw(weights("b", networks=0.3))
    assert machine.draw(weights("a")) == alone == 5


def held() -> set[str]:
    """Names of the sets on the shelf."""
    return set(shelf.loaded(Path("weights"), "cpu"))
