"""The memory of the machine, or as much of it as the container that this process runs in may take."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container of its limits (cgroups(7)): here, or before version 2 a folder below."""

_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        *("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
        *("memory/memory.stat", "total_inactive_file"),
    ),
)


@dataclass(frozen=True)
class Memory:
    """Bytes that a job may take when it has the device to itself, and now."""

    whole: int
    free: int


def memory_of(device: str, cgroup: Path = CGROUP) -> Memory:
    """As ``device`` stands now, such as ``cpu`` or ``cuda:0``."""
    if torch.device(device).type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Memory(int(whole), int(free + idle))
    machine = psutil.virtual_memory()
    limits = [limit for names in _FILES if (limit := _limit(cgroup, *names)) is not None]
    every = [Memory(int(machine.total), int(machine.available)), *limits]
    return Memory(min(memory.whole for memory in every), min(memory.free for memory in every))


def _limit(cgroup: Path, most: str, taken: str, statistics: str, reclaimable: str) -> Memory | None:
    """None where there is none: no such files, or the word ``max`` instead of a number."""
    with suppress(OSError, ValueError):
        whole, used = (int((cgroup / name).read_text()) for name in (most, taken))
        lines = (line.split() for line in (cgroup / statistics).read_text().splitlines())
        cached = sum(int(value) for name, value in lines if name == reclaimable)
        return Memory(whole, max(0, whole - used + cached))
    return None
