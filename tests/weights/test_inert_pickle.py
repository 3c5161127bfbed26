"""Malicious pickles do nothing. Each is first shown to fire when Python's own pickle loads it."""

import contextlib
import pickle
import pickletools
import sys
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from weights import inert_pickle
from weights.errors import WeightsError
from weights.inert_pickle import FOREIGN, Name
from weights.reader import read_checkpoint

fired: list[str] = []
"""What the traps below have noticed."""


def spring(name: str = "spring") -> str:
    fired.append(name)
    return name


class Trap:
    """Fires whenever an unpickler makes it, fills it or hashes it."""

    def __new__(cls, *_: Any, **__: Any) -> "Trap":
        spring()
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        spring()

    def __setitem__(self, key: Any, value: Any) -> None:
        spring()

    def append(self, item: Any) -> None:
        spring()

    def add(self, item: Any) -> None:
        spring()

    def __hash__(self) -> int:
        return len(spring())


HERE = __name__.encode()
SPRING = b"c" + HERE + b"\nspring\n"
TRAP = b"c" + HERE + b"\nTrap\n"
ALARM = b"V__import__('sys').modules['" + HERE + b"'].spring()\n"
PROGRAMS = {
    "call": SPRING + b"(tR.",
    "call from the memo": SPRING + b"q\x00(tq\x010h\x00h\x01R.",
    "call by a name from the stack": b"V" + HERE + b"\nVspring\n\x93)R.",
    "eval": b"cbuiltins\neval\n(" + ALARM + b"tR.",
    "exec": b"cbuiltins\nexec\n(" + ALARM + b"tR.",
    "getattr chain": b"cbuiltins\ngetattr\n(cimportlib\nimport_module\n(V" + HERE + b"\ntRVspring\ntR)R.",
    "os.system": b"cposix\nsystem\n(Vtrue\ntR.",
    "INST": b"(i" + HERE + b"\nspring\n.",
    "INST with arguments": b"(Vtrue\niposix\nsystem\n.",
    "OBJ": b"(" + SPRING + b"Vobj\no.",
    "NEWOBJ": TRAP + b")\x81.",
    "NEWOBJ_EX": TRAP + b")}\x92.",
    "BUILD": TRAP + b")\x81}Va\nI1\nsb.",
    "APPEND": TRAP + b")\x81I1\na.",
    "APPENDS": TRAP + b")\x81(I1\nI2\ne.",
    "SETITEM": TRAP + b")\x81I1\nI2\ns.",
    "SETITEMS": TRAP + b")\x81(I1\nI2\nu.",
    "ADDITEMS": TRAP + b")\x81(I1\n\x90.",
    "dictionary key": b"}" + TRAP + b")\x81I1\ns.",
    "dictionary key in a tuple": b"}" + TRAP + b")\x81\x85I1\ns.",
    "set member": b"\x8f(" + TRAP + b")\x81\x90.",
    "frozen set member": b"(" + TRAP + b")\x81\x91.",
    "import": b"cantigravity_never_imported\nx\n.",
}
BUILDERS = {Name("collections", "OrderedDict"): lambda *_: {}}


def load(program: bytes) -> Any:
    return inert_pickle.load(BytesIO(program), BUILDERS, lambda identifier: FOREIGN)


class Watch:
    """Notes, while it is entered, what Python does that an inert reader has no reason to do."""

    suspect = ("import", "exec", "compile", "os.", "subprocess.", "pickle.find_class")

    def __init__(self) -> None:
        self.active = False
        self.events: list[str] = []
        sys.addaudithook(self.note)

    def note(self, event: str, _: Any) -> None:
        if self.active and event.startswith(self.suspect):
            self.events.append(event)

    def __enter__(self) -> None:
        fired.clear()
        self.events.clear()
        self.active = True

    def __exit__(self, *_: object) -> None:
        self.active = False
        fired.extend(self.events)


watch = Watch()


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_nothing_named_in_a_pickle_is_imported_called_or_filled(program: bytes) -> None:
    load(pickle.dumps("text", protocol=0))  # lets Python import the codec it needs
    with watch:
        load(program)
    assert fired == []

    with watch, contextlib.suppress(ModuleNotFoundError, TypeError):
        pickle.loads(program)
    assert fired


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_checkpoint_that_is_such_a_pickle_is_refused(program: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", program)
    fired.clear()
    with pytest.raises(WeightsError):
        read_checkpoint(path)
    assert fired == []


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner)
        | st.tuples(inner, inner, inner, inner)
    ),
)


@given(plain, st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_they_were_written(value: Any, protocol: int) -> None:
    with_memo = [value, value]
    assert load(pickle.dumps(with_memo, protocol)) == with_memo


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(protocol: int) -> None:
    value = {
        "numbers": [1, 300, -(2**70), 2.5],
        "constants": (None, True, False),
        "text": "é\n",
        "e": [(), {}],
    }
    assert load(pickle.dumps(value, protocol)) == value


def test_sets_become_lists_and_other_keys_than_text_are_dropped() -> None:
    assert load(pickle.dumps({"s": {1}, "f": frozenset([2]), 3: 4, (5,): 6})) == {"s": [1], "f": (2,)}


def test_the_stream_is_left_behind_the_pickle() -> None:
    stream = BytesIO(pickle.dumps(1) + pickle.dumps(2) + b"rest")
    assert [inert_pickle.load(stream, {}, lambda _: FOREIGN) for _ in range(2)] == [1, 2]
    assert stream.read() == b"rest"


instructions = st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])
arguments = st.sampled_from([b"", b"\0", b"\1", b"\1\0\0\0", b"\xff\xff\xff\x7f", b"1\n", b"a\n", b"a\nb\n"])


@settings(max_examples=500)
@given(st.lists(st.tuples(instructions, arguments)), st.binary(max_size=20))
def test_any_row_of_instructions_ends_in_a_value_or_a_documented_error(
    program: list[tuple[bytes, bytes]], rest: bytes
) -> None:
    with contextlib.suppress(ValueError, LookupError, TypeError):
        load(b"".join(code + argument for code, argument in program) + rest + b".")


LONG_NAME = b"X" + (50_000).to_bytes(4, "little") + b"a" * 50_000
GREEDY = {
    "a memo index of two billion": b"Nr\xff\xff\xff\x7f.",
    "bytes of eight exabytes": b"\x8e" + (2**62).to_bytes(8, "little") + b".",
    "a byte array of eight exabytes": b"\x96" + (2**62).to_bytes(8, "little") + b".",
    "text of four gigabytes": b"X\xff\xff\xff\xff.",
    "a long name joined ten thousand times": LONG_NAME + b"q\0q\1" + b"h\0h\1\x93" * 10_000 + b".",
    "a list unpacked again and again": b"("
    + b"N" * 20_000
    + b"tq\0"
    + b"ccollections\nOrderedDict\nh\0R0" * 5_000
    + b"N.",
}
ENDLESS = {
    "a key of doubling tuples": b"})" + b"2\x86" * 200 + b"Ns.",
    "a key of a million nested tuples": b"})" + b"\x85" * 1_000_000 + b"Ns.",
}


@pytest.mark.parametrize("program", GREEDY.values(), ids=GREEDY)
def test_memory_stays_proportional_to_the_pickle(program: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            load(program)
        assert tracemalloc.get_traced_memory()[1] < 100_000 + 50 * len(program)
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("program", ENDLESS.values(), ids=ENDLESS)
def test_a_key_that_takes_for_ever_to_hash_is_dropped(program: bytes) -> None:
    assert load(program) == {}


@pytest.mark.parametrize("index", [2**32, 2**61 - 1, 1 - 2**61, -1])
def test_a_memo_index_is_no_number_of_the_authors_choice(index: int) -> None:
    assert load(b"I7\np4294967295\n0g4294967295\n.") == 7
    with pytest.raises(ValueError, match=f"the memo index {index} has no place in a checkpoint"):
        load(b"Np%d\n." % index)


def test_a_number_of_a_million_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="digits"):
        load(b"I" + b"9" * 1_000_000 + b"\n.")
