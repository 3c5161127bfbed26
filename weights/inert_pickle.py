"""Reads a pickle without running it.

A pickle is a program for a small stack machine. This machine knows the instructions that make plain values
and containers; it looks no name up, imports nothing and calls nothing but the builders it is given. Its work
and memory are proportional to the length of the pickle, whatever that says.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

MAX_ARGUMENTS = 16
"""No builder takes more; unpacking a longer row again and again would take quadratic time."""
MAX_INDEX = 2**32
"""Of the memo. Numbers beyond can be chosen so that they all fall into one place of Python's dictionaries."""
FOREIGN = object()
"""Stands for every object whose making was not carried out."""


class Name(NamedTuple):
    """A class or function that a pickle names."""

    module: str
    name: str


Builders = Mapping[Name, Callable[..., Any]]


def load(stream: BinaryIO, builders: Builders, resolve: Callable[[Any], Any]) -> Any:
    """Read one pickle from ``stream`` and leave the stream behind it.

    ``builders`` make the objects that a pickle makes by calling those names; ``resolve`` turns persistent
    identifiers into objects. Sets become lists and frozen sets tuples. Dictionaries keep their text keys
    only: hashing anything else may take as long as the file's author likes.

    Raises:
        ValueError, LookupError, TypeError: the bytes are no whole pickle, or a builder refused its arguments.
    """
    machine = _Machine(builders, resolve)
    for opcode, argument, _ in pickletools.genops(stream):
        machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    def __init__(self, builders: Builders, resolve: Callable[[Any], Any]) -> None:
        self.builders = builders
        self.resolve = resolve
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _TUPLE_LENGTHS:
            self.stack.append(tuple(self._pop(_TUPLE_LENGTHS[opcode])))
        elif opcode in _INSTRUCTIONS:
            _INSTRUCTIONS[opcode](self, argument)
        else:
            raise ValueError(f"the instruction {opcode} has no place in a checkpoint")

    def skip(self, _: Any) -> None:
        pass

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def remember(self, index: int | None) -> None:
        if index is not None and not 0 <= index < MAX_INDEX:
            raise ValueError(f"the memo index {index} has no place in a checkpoint")
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def pop_one(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def pop_marked(self, _: Any) -> None:
        self._pop_marked()

    def make_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._pop_marked()))

    def make_list(self, _: Any) -> None:
        self.stack.append(self._pop_marked())

    def make_dict(self, _: Any) -> None:
        items = self._pop_marked()
        self.stack.append({})
        self._set(items)

    def append(self, _: Any) -> None:
        self._extend(self._pop(1))

    def extend(self, _: Any) -> None:
        self._extend(self._pop_marked())

    def set_item(self, _: Any) -> None:
        self._set(self._pop(2))

    def set_items(self, _: Any) -> None:
        self._set(self._pop_marked())

    def name(self, text: str) -> None:
        self.stack.append(Name(*text.split(" ", 1)))

    def name_from_stack(self, _: Any) -> None:
        module, name = self._pop(2)
        known = isinstance(module, str) and isinstance(name, str)
        self.stack.append(Name(module, name) if known else FOREIGN)

    def call(self, _: Any) -> None:
        function, arguments = self._pop(2)
        build = self.builders.get(function) if isinstance(function, Name) else None
        few = isinstance(arguments, tuple) and len(arguments) <= MAX_ARGUMENTS
        self.stack.append(build(*arguments) if build and few else FOREIGN)

    def foreign_from_two(self, _: Any) -> None:
        self._pop(2)
        self.stack.append(FOREIGN)

    def foreign_from_three(self, _: Any) -> None:
        self._pop(3)
        self.stack.append(FOREIGN)

    def foreign_from_marked(self, _: Any) -> None:
        self._pop_marked()
        self.stack.append(FOREIGN)

    def foreign(self, _: Any) -> None:
        self.stack.append(FOREIGN)

    def ignore_state(self, _: Any) -> None:
        self._pop(1)

    def persistent(self, _: Any) -> None:
        self.stack.append(self.resolve(self.stack.pop()))

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _pop_marked(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            self.stack[-1].update((key, value) for key, value in pairs if isinstance(key, str))


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_TUPLE_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_METHODS: dict[Callable[[_Machine, Any], None], str] = {
    _Machine.skip: "PROTO FRAME STOP",
    _Machine.push: "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8",
    _Machine.mark: "MARK",
    _Machine.remember: "PUT BINPUT LONG_BINPUT MEMOIZE",
    _Machine.recall: "GET BINGET LONG_BINGET",
    _Machine.duplicate: "DUP",
    _Machine.pop_one: "POP",
    _Machine.pop_marked: "POP_MARK",
    _Machine.make_tuple: "TUPLE FROZENSET",
    _Machine.make_list: "LIST",
    _Machine.make_dict: "DICT",
    _Machine.append: "APPEND",
    _Machine.extend: "APPENDS ADDITEMS",
    _Machine.set_item: "SETITEM",
    _Machine.set_items: "SETITEMS",
    _Machine.name: "GLOBAL",
    _Machine.name_from_stack: "STACK_GLOBAL",
    _Machine.call: "REDUCE",
    _Machine.foreign: "EXT1 EXT2 EXT4 PERSID",
    _Machine.foreign_from_two: "NEWOBJ",
    _Machine.foreign_from_three: "NEWOBJ_EX",
    _Machine.foreign_from_marked: "INST OBJ",
    _Machine.ignore_state: "BUILD",
    _Machine.persistent: "BINPERSID",
}
_INSTRUCTIONS = {opcode: method for method, opcodes in _METHODS.items() for opcode in opcodes.split()}
