"""Checkpoints are read whole or refused, whoever wrote them; nothing in them is run."""

import pickle
import sys
import tempfile
import tracemalloc
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from weights.errors import WeightsError
from weights.reader import MAX_PICKLE_BYTES, read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"
DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def saved(content: Any, zipped: bool = True) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def read(data: bytes, prefix: str = "") -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        path.write_bytes(data)
        return read_checkpoint(path, prefix)


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(f"model/{name}", content)
    return buffer.getvalue()


def described_tensor(numel: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickle of ``{"w": tensor}`` whose float storage is entry ``data/0``."""

    def number(n: int) -> bytes:
        return f"I{n}\n".encode()

    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\n" + number(numel) + b"tQ"
    shape = b"".join(b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride))
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + b"tR"
    return b"(Vw\n" + call + b"d."


def assert_equal(actual: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert actual.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor), name


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    size = draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    tensor = (torch.randn(size, generator=generator) * 50).to(draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()):
        tensor = tensor.permute(tuple(draw(st.permutations(range(tensor.dim())))))
    if tensor.dim() and draw(st.booleans()):
        tensor = tensor[1:]
    return tensor


@given(st.dictionaries(st.text("ab.é"), tensors(), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_reads_what_torch_saved(state: dict[str, Tensor], zipped: bool, nested: bool) -> None:
    content = {"epoch": 3, "state_dict": OrderedDict(state)} if nested else state
    assert_equal(read(saved(content, zipped)), state)


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_parameters_tied_tensors_and_a_modules_state(zipped: bool) -> None:
    layer = nn.BatchNorm1d(4)
    content = {**layer.state_dict(), "parameter": nn.Parameter(torch.ones(3)), "tied": layer.weight}
    plain = {name: tensor.detach() for name, tensor in content.items()}
    assert_equal(read(saved(content, zipped)), plain)


def test_leaves_out_losses_and_whatever_is_no_tensor() -> None:
    one = torch.ones(1)
    content = {"w": one, "loss.logvar": one, "first_stage_model.loss.d": one, "steps": 3, 7: one, (1, 2): one}
    assert_equal(read(saved(content)), {"w": one})


@pytest.mark.parametrize("zipped", [True, False])
def test_storages_that_are_not_asked_for_are_not_read(zipped: bool) -> None:
    stages = {"first_stage_model.w": torch.ones(2), "transformer.w": torch.full((1_000,), 7.0)}
    damaged = bytearray(saved({"state_dict": stages}, zipped))
    position = damaged.index(torch.full((1_000,), 7.0).numpy().tobytes())
    damaged[position if zipped else position - 8] ^= 1  # the older layout has lengths, no checksums
    with pytest.raises(WeightsError):
        read(bytes(damaged))
    assert_equal(read(bytes(damaged), "first_stage_model."), {"w": torch.ones(2)})


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_running_out_of_memory_is_no_damage(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "frombuffer", refuse)
    with pytest.raises(type(error)):
        read(saved({"w": torch.ones(2)}))


@pytest.mark.parametrize("name", ["vqgan", "vqgan_gumbel"])
def test_reads_an_original_checkpoint_past_the_class_it_names(name: str) -> None:
    state = read_checkpoint(GOLDEN / f"{name}.ckpt")
    assert "quant_conv.weight" in state
    assert not any(key.startswith("loss.") for key in state)
    assert "pytorch_lightning" not in sys.modules


CHECKPOINT = {"state_dict": {"a": torch.arange(12.0).view(3, 4), "b": torch.ones(5, dtype=torch.int64)}}
ZIPPED, LEGACY = saved(CHECKPOINT), saved(CHECKPOINT, zipped=False)


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_bit_in_an_archive_is_harmless_or_noticed(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(ZIPPED) * 8 - 1))
    damaged = bytearray(ZIPPED)
    damaged[position // 8] ^= 1 << position % 8
    try:
        state = read(bytes(damaged))
    except WeightsError:
        return
    assert_equal(state, CHECKPOINT["state_dict"])


@settings(max_examples=300)
@given(st.data())
def test_flipped_bits_in_the_older_layout_raise_nothing_but_weights_errors(data: st.DataObject) -> None:
    damaged = bytearray(LEGACY)
    for position in data.draw(st.lists(st.integers(0, len(LEGACY) * 8 - 1), min_size=1, max_size=3)):
        damaged[position // 8] ^= 1 << position % 8
    try:
        state = read(bytes(damaged))
    except WeightsError:
        return
    assert all(isinstance(tensor, Tensor) for tensor in state.values())


@given(st.sampled_from([ZIPPED, LEGACY]), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(whole: bytes, part: float) -> None:
    with pytest.raises(
        WeightsError, match=r"model\.ckpt is damaged or no PyTorch checkpoint; install it again"
    ):
        read(whole[: int(part * len(whole))])


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"PK\x03\x04", b"<html>not found</html>", saved({"epoch": 1})]
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(WeightsError, match="no PyTorch checkpoint"):
        read(content)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.ckpt cannot be read \(No such file or directory\)"):
        read_checkpoint(tmp_path / "gone.ckpt")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_checkpoint(tmp_path)


def test_the_crafted_pickle_reads_when_it_is_honest() -> None:
    state = read(archive({"data.pkl": described_tensor(6, 1, (2, 2), (2, 1)), "data/0": bytes(24)}))
    assert_equal(state, {"w": torch.zeros(2, 2)})


@pytest.mark.parametrize(
    ("numel", "offset", "size", "stride"),
    [
        (10**15, 0, (2, 2), (2, 1)),
        (7, 0, (2, 2), (2, 1)),
        (5, 0, (2, 2), (2, 1)),
        (-1, 0, (2, 2), (2, 1)),
        (6, 5, (2, 2), (2, 1)),
        (6, -1, (2, 2), (2, 1)),
        (6, 0, (2, 2), (2**70, 1)),
        (6, 5, (2, 2), (-2, -1)),
        (6, 0, (10**12,), (0,)),
        (6, 0, (6, 6), (0, 1)),
        (6, 0, (10**1000,) * 10, (0,) * 10),
        (6, 0, (0, -1), (0, 1)),
        (6, 0, (1,) * 1000, (1,) * 1000),
        (6, 0, (2, 2), (1,)),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage_is_refused(
    numel: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    description = described_tensor(numel, offset, size, stride)
    with pytest.raises(WeightsError):
        read(archive({"data.pkl": description, "data/0": bytes(24)}))


ENDLESS_TUPLE = b")" + b"2\x86" * 200
CRAFTED = {
    "an ordered dictionary made of pairs": b"ccollections\nOrderedDict\n(](" + ENDLESS_TUPLE + b"NtatR.",
    "a storage's type": b"(Vstorage\n" + ENDLESS_TUPLE + b"V0\nVcpu\nI6\ntQ.",
    "a storage's key": b"(Vstorage\nctorch\nFloatStorage\n" + ENDLESS_TUPLE + b"Vcpu\nI6\ntQ.",
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("content", CRAFTED.values(), ids=CRAFTED)
def test_what_takes_for_ever_to_hash_is_refused_at_once(content: bytes) -> None:
    with pytest.raises(WeightsError):
        read(archive({"data.pkl": content}))


def older_layout(keys: bytes) -> bytes:
    head = pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + pickle.dumps({"little_endian": True})
    storage = (6).to_bytes(8, "little") + bytes(24)
    return head + described_tensor(6, 0, (6,), (1,)) + keys + storage


@pytest.mark.timeout(30)
def test_a_row_of_keys_that_takes_for_ever_to_hash_is_refused_at_once() -> None:
    assert_equal(read(older_layout(b"](V0\ne.")), {"w": torch.zeros(6)})
    with pytest.raises(WeightsError):
        read(older_layout(b"](" + ENDLESS_TUPLE + b"e."))


def test_a_compressed_archive_is_refused() -> None:
    entries = {"data.pkl": described_tensor(10**7, 0, (10**7,), (1,)), "data/0": bytes(4 * 10**7)}
    bomb = archive(entries, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10**5
    assert _peak_of_reading(bomb) < 10**7


def test_overlapping_entries_are_refused() -> None:
    honest = archive({"data.pkl": described_tensor(250, 0, (250,), (1,)), "data/0": bytes(1000)})
    directory, end = honest.rindex(b"PK\x01\x02"), honest.index(b"PK\x05\x06")
    repeats, record = 50, honest[directory:end]
    tail = bytearray(honest[end:])
    tail[8:12] = (2 + repeats).to_bytes(2, "little") * 2
    tail[12:16] = (int.from_bytes(tail[12:16], "little") + repeats * len(record)).to_bytes(4, "little")
    overlapping = honest[:end] + record * repeats + tail
    assert len(zipfile.ZipFile(BytesIO(overlapping)).infolist()) == 2 + repeats
    assert read(honest)["w"].numel() == 250
    with pytest.raises(WeightsError):
        read(overlapping)


def test_an_endless_description_is_refused() -> None:
    endless = b"}" * MAX_PICKLE_BYTES + b"."
    assert _peak_of_reading(archive({"data.pkl": endless})) < 4 * MAX_PICKLE_BYTES


def _peak_of_reading(data: bytes) -> int:
    """Memory taken while the refused bytes are read, beyond the bytes themselves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        path.write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(WeightsError):
                read_checkpoint(path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
