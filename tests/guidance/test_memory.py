"""Short of memory, guidance looks at fewer cutouts at a time, and gives back what it took."""

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.memory import NotEnoughMemory, halving, let_go
from settings import ROOT
from weights.memory import is_out_of_memory

CUTOUTS = 256


def step(cap_mb: int, side: int = 128, cutouts: int = CUTOUTS) -> dict[str, Any]:
    script = Path(__file__).with_name("capped.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, str(cutouts), str(cap_mb), str(side)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="module")
def uncapped() -> dict[str, Any]:
    return step(0)


def test_under_a_cap_the_chunk_is_halved_and_the_gradient_is_the_same(uncapped: dict[str, Any]) -> None:
    capped = step(300)
    assert uncapped["chunk"] == CUTOUTS
    assert capped["chunk"] < CUTOUTS
    assert capped["loss"] == pytest.approx(uncapped["loss"], abs=1e-3)
    mine, whole = torch.tensor(capped["gradient"]), torch.tensor(uncapped["gradient"])
    assert torch.nn.functional.cosine_similarity(mine, whole, dim=0) > 0.99


def test_afterwards_memory_is_back_where_it_was(uncapped: dict[str, Any]) -> None:
    assert uncapped["grown"] < 30
    assert step(300)["grown"] < 30


def test_what_does_not_fit_at_all_is_told_as_one_error() -> None:
    told = step(50, side=512, cutouts=1)
    assert told["said"] == "not enough"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_it_is_tried_with_half_as_many_until_they_fit() -> None:
    tried = []

    def work(together: int) -> str:
        tried.append(together)
        if together > 2:
            raise torch.OutOfMemoryError
        return "done"

    assert halving(13, work) == ("done", 2)
    assert tried == [13, 7, 4, 2]


def test_where_not_even_one_fits_or_something_else_is_wrong_it_is_told() -> None:
    def refuse(together: int) -> None:
        raise torch.OutOfMemoryError

    def fail(together: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(NotEnoughMemory):
        halving(4, refuse)
    with pytest.raises(RuntimeError, match="mat1"):
        halving(4, fail)


def test_what_the_failed_calls_held_is_free_while_the_error_is_told() -> None:
    def work(together: int) -> None:
        large = torch.zeros(4)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError

    held: list[weakref.ref[torch.Tensor]] = []
    with pytest.raises(NotEnoughMemory) as told:
        halving(1, work)
    let_go(told.value)
    assert held[0]() is None
