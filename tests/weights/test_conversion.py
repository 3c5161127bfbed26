"""A pickled checkpoint is read once; afterwards its tensors are mapped from safetensors."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from settings import ROOT
from weights import conversion
from weights.conversion import LOCK, WHOLE, read_converted
from weights.errors import WeightsError
from weights.files import conversion_folder

STATE = {"w": torch.arange(3_000.0), "b": torch.ones(5, dtype=torch.bfloat16)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return saved(tmp_path / "model.ckpt", STATE)


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": state}, path)
    return path


def kept(checkpoint: Path) -> Path:
    return conversion_folder(checkpoint) / WHOLE


def assert_equal(actual: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert actual.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor), name


def refuse(*_: object) -> None:
    raise AssertionError("the pickle was read")


def assert_mapped(checkpoint: Path, prefix: str, wanted: dict[str, Tensor]) -> None:
    """The pickle is not looked into, and the numbers are still in the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "read_checkpoint", refuse)
        tensors = read_converted(checkpoint, prefix)
    assert str(kept(checkpoint)) in Path("/proc/self/maps").read_text()
    assert_equal(tensors, wanted)


def test_the_second_load_maps_what_the_first_one_kept(checkpoint: Path) -> None:
    assert_equal(read_converted(checkpoint, ""), STATE)
    assert_mapped(checkpoint, "", STATE)
    assert sorted(path.name for path in conversion_folder(checkpoint).iterdir()) == [LOCK, WHOLE]
    assert kept(checkpoint).stat().st_mode == checkpoint.stat().st_mode


def test_tensors_of_every_make_are_kept(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    state = {
        "transposed": whole.T,
        "row": whole[1],
        "point": torch.tensor(2),
        "empty": torch.empty(0, 3),
        "void": torch.empty(0),
        "bits": torch.tensor([True, False, True]),
        "double": torch.ones(1, dtype=torch.float64),
    }
    checkpoint = saved(tmp_path / "model.ckpt", state)
    assert_equal(read_converted(checkpoint, ""), state)
    assert_mapped(checkpoint, "", state)


def test_only_the_first_stage_is_kept_where_there_is_one(tmp_path: Path) -> None:
    stages = {"first_stage_model.w": torch.ones(3), "transformer.w": torch.ones(1_000)}
    checkpoint = saved(tmp_path / "model.ckpt", stages)
    first = {"w": torch.ones(3)}
    assert_equal(read_converted(checkpoint, "first_stage_model."), first)
    assert_mapped(checkpoint, "first_stage_model.", first)
    assert_equal(read_converted(checkpoint, ""), stages)


@pytest.mark.parametrize("later", [0, 1])
def test_a_changed_checkpoint_is_converted_anew(checkpoint: Path, later: int) -> None:
    """Known by its size, or by when it was changed."""
    read_converted(checkpoint, "")
    before = checkpoint.stat()
    changed = {**STATE, "w": STATE["w"] + 1} if later else {"w": torch.ones(2)}
    saved(checkpoint, changed)
    assert later == (checkpoint.stat().st_size == before.st_size)
    os.utime(checkpoint, ns=(before.st_atime_ns, before.st_mtime_ns + later))
    assert_equal(read_converted(checkpoint, ""), changed)
    assert_mapped(checkpoint, "", changed)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace(path: Path) -> None:
    save_file({"w": torch.zeros(3_000), "b": torch.zeros(5)}, path, {"format": "pt"})


@pytest.mark.parametrize("spoil", [tear, replace, lambda path: path.write_bytes(b""), Path.unlink])
def test_a_torn_or_foreign_file_is_replaced(checkpoint: Path, spoil: Callable[[Path], None]) -> None:
    read_converted(checkpoint, "")
    spoil(kept(checkpoint))
    assert_equal(read_converted(checkpoint, ""), STATE)
    assert_mapped(checkpoint, "", STATE)


def fail(error: Exception) -> Callable[..., None]:
    def failing(*_: object, **__: object) -> None:
        raise error

    return failing


@pytest.mark.parametrize(
    ("place", "name", "stand_in"),
    [
        (Path, "mkdir", fail(OSError(errno.EROFS, "Read-only file system"))),
        (fcntl, "flock", fail(OSError(errno.ENOLCK, "No locks available"))),
        (shutil, "disk_usage", lambda _: SimpleNamespace(free=100)),
        (conversion, "save_file", fail(SafetensorError("No space left on device"))),
    ],
)
def test_where_nothing_can_be_kept_the_checkpoint_is_read(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, place: object, name: str, stand_in: Callable[..., None]
) -> None:
    monkeypatch.setattr(place, name, stand_in)
    for _ in range(2):
        assert_equal(read_converted(checkpoint, ""), STATE)
    assert not kept(checkpoint).exists()


def test_a_conversion_that_was_killed_leaves_nothing_for_ever(checkpoint: Path) -> None:
    folder = conversion_folder(checkpoint)
    folder.mkdir()
    (folder / ".tmpA1b2C3").write_bytes(bytes(1_000))
    read_converted(checkpoint, "")
    assert sorted(path.name for path in folder.iterdir()) == [LOCK, WHOLE]


def test_while_another_process_converts_the_checkpoint_is_read(checkpoint: Path) -> None:
    folder = conversion_folder(checkpoint)
    folder.mkdir()
    with (folder / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_equal(read_converted(checkpoint, ""), STATE)
        assert not kept(checkpoint).exists()


def test_many_who_convert_at_once_all_have_it_whole(checkpoint: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for tensors in pool.map(lambda _: read_converted(checkpoint, ""), range(12)):
            assert_equal(tensors, STATE)
    assert_equal(load_file(kept(checkpoint)), STATE)


def test_a_conversion_never_takes_more_of_the_disk_than_the_checkpoint(tmp_path: Path) -> None:
    shared = torch.ones(1_000)
    state = {f"w{number}": shared for number in range(100)}
    checkpoint = saved(tmp_path / "model.ckpt", state)
    assert_equal(read_converted(checkpoint, ""), state)
    assert not kept(checkpoint).exists()


@pytest.mark.parametrize("name", ["\ud800", "__metadata__"])
def test_a_name_that_safetensors_refuses_does_no_harm(tmp_path: Path, name: str) -> None:
    state = {name: torch.ones(1_000)}
    checkpoint = saved(tmp_path / "model.ckpt", state)
    for _ in range(2):
        assert_equal(read_converted(checkpoint, ""), state)


def test_what_is_no_checkpoint_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with pytest.raises(FileNotFoundError):
        read_converted(path, "")
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match="no PyTorch checkpoint"):
        read_converted(path, "")
    assert list(tmp_path.iterdir()) == [path]


MEASURE = """
import resource, sys
from pathlib import Path
from weights.conversion import read_converted

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
read_converted(Path(sys.argv[1]), "")
print(peak() - before)
"""


def test_memory_holds_the_checkpoint_once_while_it_is_converted(tmp_path: Path) -> None:
    """The weights transposed, as BigGAN's are, so that laying them out takes copies."""
    state = {f"w{number}": torch.ones(2_500, 1_000).T for number in range(16)}
    checkpoint = saved(tmp_path / "model.bin", state)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, checkpoint],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert kept(checkpoint).exists()
    assert int(done.stdout) < 1.75 * checkpoint.stat().st_size  # the allocator's gaps take up to half of it
