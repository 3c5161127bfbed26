"""Installed weights are compared with the catalogue."""

import hashlib
import os
from pathlib import Path

import pytest

from weights.catalogue import WeightsEntry, WeightsFile
from weights.errors import WeightsError
from weights.files import verify, weights_hash

CONTENTS = {"set/vqgan.safetensors": b"numbers", "set/clip/model.safetensors": b"more numbers"}


@pytest.fixture
def entry(tmp_path: Path) -> WeightsEntry:
    for name, content in CONTENTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return make_entry(CONTENTS)


def make_entry(contents: dict[str, bytes]) -> WeightsEntry:
    files = tuple(
        WeightsFile(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )
    return WeightsEntry(
        name="set", title="Set", draws="things", licence="MIT", generators=(), networks={}, files=files
    )


def test_whole_weights_pass(entry: WeightsEntry, tmp_path: Path) -> None:
    verify(entry, tmp_path)
    verify(entry, tmp_path)


def test_a_missing_file_is_named_with_what_to_do(entry: WeightsEntry, tmp_path: Path) -> None:
    (tmp_path / "set/vqgan.safetensors").unlink()
    with pytest.raises(
        WeightsError, match=r"vqgan\.safetensors is missing; install the weights 'set' again\.$"
    ):
        verify(entry, tmp_path)


@pytest.mark.parametrize("content", [b"numberz", b"numbers and more", b""])
def test_a_changed_file_is_named_with_what_to_do(entry: WeightsEntry, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set/vqgan.safetensors").write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"vqgan\.safetensors is damaged; install the weights 'set' again\.$"
    ):
        verify(entry, tmp_path)


def test_a_file_damaged_after_a_check_is_noticed_by_the_next(entry: WeightsEntry, tmp_path: Path) -> None:
    verify(entry, tmp_path)
    file = tmp_path / "set/vqgan.safetensors"
    changed = file.stat().st_mtime_ns + 10**9
    file.write_bytes(b"numberz")
    os.utime(file, ns=(changed, changed))
    with pytest.raises(WeightsError, match="damaged"):
        verify(entry, tmp_path)


def test_an_unchanged_file_is_read_once(
    entry: WeightsEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(entry, tmp_path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the file was read again"))
    verify(entry, tmp_path)


def test_a_folder_in_a_files_place_is_refused(entry: WeightsEntry, tmp_path: Path) -> None:
    (tmp_path / "set/vqgan.safetensors").unlink()
    (tmp_path / "set/vqgan.safetensors").mkdir()
    with pytest.raises(WeightsError, match=r"vqgan\.safetensors"):
        verify(entry, tmp_path)


def test_the_hash_names_the_content_whatever_the_order(tmp_path: Path) -> None:
    backwards = dict(reversed(CONTENTS.items()))
    assert weights_hash(make_entry(CONTENTS), tmp_path) == weights_hash(make_entry(backwards), tmp_path)
    assert len(weights_hash(make_entry(CONTENTS), tmp_path)) == 16


def test_the_hash_changes_with_content_and_place(tmp_path: Path) -> None:
    swapped = dict(zip(CONTENTS, reversed(CONTENTS.values()), strict=True))
    changed = {**CONTENTS, "set/vqgan.safetensors": b"numberz"}
    assert len({weights_hash(make_entry(c), tmp_path) for c in (CONTENTS, swapped, changed)}) == 3
