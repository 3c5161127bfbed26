"""Reads the tensors of a PyTorch checkpoint without running anything that it contains.

Two layouts are known: the zip archive that ``torch.save`` writes since version 1.6, and the row of pickles
before it. In both, a pickle describes the tensors, and their numbers lie in storages beside it. The pickle is
read by ``weights.inert_pickle``; of the storages, only those of the tensors asked for are read.
"""

import math
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import torch
from torch import Tensor

from weights import inert_pickle
from weights.errors import WeightsError
from weights.inert_pickle import FOREIGN, Name
from weights.memory import told_unless_out_of_memory

MAX_PICKLE_BYTES = 4 * 2**20
"""Describing 10,000 tensors takes about 1.5 MB."""
MAX_DIMENSIONS = 16
MAX_NUMBER = 2**62
"""No honest file's sizes come near; arithmetic with longer numbers would be slow."""

T = TypeVar("T")


def read_checkpoint(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read the tensors by name: those under ``state_dict`` where there is one, without the losses'.

    Where names begin with ``prefix``, only those tensors are read, and named without it.
    Memory stays proportional to the file's size, whatever the file declares. A zip archive is checked
    against its checksums; the older layout has none. Tensors may share storage.

    Raises:
        WeightsError: the file is missing, damaged or no checkpoint.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); install it again.") from error
    damaged = f"{path} is damaged or no PyTorch checkpoint; install it again."
    with file, told_unless_out_of_memory(damaged):  # bytes that anyone may have written can fail in any way
        return _read_tensors(_open_layout(file), prefix)


def within(values: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Those whose names begin with ``prefix``, by the rest of the name; all where there are none."""
    found = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    return found or dict(values)


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's numbers lie; ``numel`` is what the pickle says, not yet compared with the file."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class _Description:
    """A tensor as the pickle tells it, not yet checked."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Layout(Protocol):
    content: Any
    """What the pickle holds, descriptions in the tensors' places."""

    def read(self, storage: _Storage) -> bytes:
        """Read exactly ``storage.size`` bytes or raise."""
        ...


class _ZipLayout:
    """Uncompressed entries ``<folder>/data.pkl`` and ``<folder>/data/<key>``."""

    def __init__(self, file: BinaryIO) -> None:
        self.archive = zipfile.ZipFile(file)
        entries = self.archive.infolist()
        # no bombs: each entry is as long as it says, and together they fit into the file
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("a checkpoint's entries are not compressed")
        if sum(entry.file_size for entry in entries) > _size(file):
            raise ValueError("the entries overlap")
        names = [entry.filename for entry in entries]
        self.folder = next(name for name in names if name.endswith("/data.pkl")).removesuffix("data.pkl")
        if f"{self.folder}byteorder" in names:
            _require_little_endian(self._read("byteorder", len("little")) == b"little")
        pickle = BytesIO(self._read("data.pkl", MAX_PICKLE_BYTES))
        self.content = inert_pickle.load(pickle, _BUILDERS, _resolve_storage)

    def read(self, storage: _Storage) -> bytes:
        content = self._read(f"data/{storage.key}", storage.size)
        if len(content) != storage.size:
            raise ValueError("a storage is shorter than declared")
        return content

    def _read(self, name: str, limit: int) -> bytes:
        entry = self.archive.getinfo(self.folder + name)
        if entry.file_size > limit:
            raise ValueError(f"{name} is too long")
        return self.archive.read(entry)


class _LegacyLayout:
    """Pickles of a magic number, the protocol, the system, the content and the storages' keys; storages."""

    MAGIC = 0x1950A86A20F9469CFC6C
    PROTOCOL = 1001

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.storages: dict[str, _Storage] = {}
        head = BytesIO(file.read(MAX_PICKLE_BYTES))
        magic, protocol, system, self.content, keys = (
            inert_pickle.load(head, _BUILDERS, self._note_storage) for _ in range(5)
        )
        if (magic, protocol) != (self.MAGIC, self.PROTOCOL):
            raise ValueError("this is another kind of file")
        _require_little_endian(system["little_endian"])
        self.starts = dict(self._starts(keys, head.tell()))

    def read(self, storage: _Storage) -> bytes:
        self.file.seek(self.starts[storage.key])
        (numel,) = struct.unpack("<q", self.file.read(8))
        if numel != storage.numel or storage.size > _size(self.file) - self.file.tell():
            raise ValueError("a storage is shorter than declared")
        return self.file.read(storage.size)

    def _note_storage(self, identifier: Any) -> Any:
        storage = _resolve_storage(identifier)
        if isinstance(storage, _Storage):
            self.storages[storage.key] = storage
        return storage

    def _starts(self, keys: list[Any], position: int) -> Iterator[tuple[str, int]]:
        for key in keys:
            if not isinstance(key, str):
                raise ValueError("a storage has no name")
            yield key, position
            position += 8 + self.storages[key].size


def _open_layout(file: BinaryIO) -> _Layout:
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    return _ZipLayout(file) if is_zip else _LegacyLayout(file)


def _read_tensors(layout: _Layout, prefix: str) -> dict[str, Tensor]:
    described = layout.content.get("state_dict", layout.content)
    drawing = {
        name: value
        for name, value in described.items()
        if isinstance(value, _Description) and not name.startswith("loss.") and ".loss." not in name
    }
    wanted = within(drawing, prefix)
    if not wanted:
        raise ValueError("there are no tensors")
    flat = {storage: _flat(layout, storage) for storage in {value.storage for value in wanted.values()}}
    return {name: _view(flat[value.storage], value) for name, value in wanted.items()}


def _flat(layout: _Layout, storage: _Storage) -> Tensor:
    if storage.numel == 0:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(layout.read(storage)), dtype=storage.dtype)


def _view(flat: Tensor, described: _Description) -> Tensor:
    offset, size, stride = described.offset, described.size, described.stride
    if not len(size) == len(stride) <= MAX_DIMENSIONS:
        raise ValueError("a tensor has no proper shape")
    if not all(0 <= number < MAX_NUMBER for number in (offset, *size, *stride)):
        raise ValueError("a tensor has no proper shape")
    if 0 in size:
        return flat.new_empty(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= flat.numel() or max(size, default=1) > flat.numel() or math.prod(size) > flat.numel():
        raise ValueError("a tensor is larger than its storage")
    return flat.as_strided(size, stride, offset)


def _resolve_storage(identifier: Any) -> Any:
    """Turn ``("storage", type, key, device, numel)`` into one; the older layout adds None."""
    if isinstance(identifier, tuple) and len(identifier) == 6 and identifier[5] is None:
        identifier = identifier[:5]
    match identifier:
        case ("storage", Name() as kind, str(key), _, int(numel)) if (
            kind in _DTYPES and 0 <= numel < MAX_NUMBER
        ):
            return _Storage(key, _DTYPES[kind], numel)
    return FOREIGN


def _make_dict() -> dict[str, Any]:
    """Make an OrderedDict, empty: PyTorch's pickles fill it afterwards."""
    return {}


def _describe_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    return _Description(storage, offset, size, stride) if isinstance(storage, _Storage) else FOREIGN


def _describe_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_BUILDERS: inert_pickle.Builders = {
    Name("collections", "OrderedDict"): _make_dict,
    Name("torch._utils", "_rebuild_tensor"): _describe_tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _describe_tensor,
    Name("torch._utils", "_rebuild_parameter"): _describe_parameter,
}
_DTYPES = {
    Name("torch", f"{name}Storage"): dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}


def _require_little_endian(little: bool) -> None:
    if not little:
        raise ValueError("the numbers are big-endian")


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
