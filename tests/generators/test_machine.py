from pathlib import Path

import psutil
import pytest

from generators.machine import memory_of

GIB = 1 << 30


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {
            "memory.max": f"{GIB // 4}\n",
            "memory.current": f"{GIB // 8}\n",
            "memory.stat": f"anon 1\ninactive_file {GIB // 16}\n",
        },
        {
            "memory/memory.limit_in_bytes": f"{GIB // 4}\n",
            "memory/memory.usage_in_bytes": f"{GIB // 8}\n",
            "memory/memory.stat": f"cache 1\ntotal_inactive_file {GIB // 16}\n",
        },
    ],
)
def test_a_container_has_what_it_is_allowed(files: dict[str, str], tmp_path: Path) -> None:
    memory = memory_of("cpu", write(tmp_path, files))

    assert memory.whole == GIB // 4
    assert memory.free == GIB // 8 + GIB // 16


@pytest.mark.parametrize(
    "files", [{}, {"memory.max": "max\n", "memory.current": "1\n", "memory.stat": ""}, {"memory.max": "7\n"}]
)
def test_without_a_limit_the_machine_counts(files: dict[str, str], tmp_path: Path) -> None:
    memory = memory_of("cpu", write(tmp_path, files))

    assert memory.whole == psutil.virtual_memory().total
    assert 0 < memory.free <= memory.whole
