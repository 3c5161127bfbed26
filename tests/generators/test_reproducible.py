"""The same job in two processes: the same bytes."""

import json
import subprocess
import sys
from typing import Any

import pytest

from settings import ROOT

DRAW = """
import hashlib, json, sys
import torch
from generators.contract import Context
from generators.registry import load, parse_spec
from settings import ROOT

generator, asked = sys.argv[1], json.loads(sys.argv[2])
torch.set_num_threads(1)
frames = load(generator)(parse_spec(generator, asked), Context("cpu", ROOT / "res" / "weights"))
print(json.dumps([hashlib.sha256(frame.image.tobytes()).hexdigest() for frame in frames]))
"""
ASKED = {
    "vqgan_clip": {"candidates": 1, "cutouts": 4},
    "biggan_clip": {"candidates": 20, "contestants": 2, "cutouts": 4},
}


def drawn_in_a_process_of_its_own(generator: str, asked: dict[str, Any]) -> list[str]:
    command = [sys.executable, "-c", DRAW, generator, json.dumps(asked)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return list(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("generator", ASKED)
def test_two_processes_draw_the_same_bytes(generator: str) -> None:
    asked = {"prompt": "a white bear in the snow", "seed": 7, "steps": 3, **ASKED[generator]}
    one, other = (drawn_in_a_process_of_its_own(generator, asked) for _ in range(2))
    assert len(set(one)) > 3
    assert one == other
