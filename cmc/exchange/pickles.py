"""A reader of pickles that can call nothing.

A pickle is a program: Python's own loader calls whatever the file names. `Machine` below reads plain containers
and numpy arrays without being able to call anything. No function or class ever reaches its stack, arrays stay
records until `Array.values` has checked them, and large ones are views of the mapped file, so a file of many
gigabytes needs little memory.
"""

import codecs
import enum
import math
import mmap
import os
import pickle
import re
import reprlib
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

PROTOCOLS = range(2, 6)


class PickleError(Exception):
    """A file that can't be read, is no whole pickle, or wants more than data."""


def load(path: str | Path) -> tuple[object, Callable[[], None]]:
    """What a file holds, with `Array` for arrays.

    Parameters
    ----------
    path : path
        Pickle of protocol 2 to 5. It stays mapped as long as what is returned refers to it.

    Returns
    -------
    object
        dict, list, tuple, str, bytes, int, float, bool, None, numpy scalars; `Array` for each numpy array. Large
        bytes are views of the file, larger texts `Text`.
    function
        Gives back the memory that reading from such views has filled with the file's pages. They stay valid.

    Raises
    ------
    PickleError
        If the file can't be read, is damaged, or names anything beyond arrays and plain containers.
    """
    if not Path(path).is_file():
        raise PickleError(f"{path} is no file")
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise PickleError(f"{path} is empty")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise PickleError(f"{path} can't be read: {error.strerror or error}") from None
    return loads(memoryview(mapped), path), partial(mapped.madvise, mmap.MADV_DONTNEED)


def loads(data: memoryview, name: str | Path) -> object:
    """As `load`, of bytes; `name` is what errors call them."""
    if data[0] != pickle.PROTO[0] or len(data) < 2 or data[1] not in PROTOCOLS:
        raise PickleError(
            f"{name} is no pickle of protocol 2 to 5: it begins with {bytes(data[:16])!r}. Check that the "
            "download is not a web page or an archive"
        )
    machine = Machine(data)
    try:
        return machine.run()
    except Refused as reason:
        raise PickleError(
            f"{name} is refused: at byte {machine.start} it {reason}. Data never need that and it could run code; "
            "don't open it with other programs"
        ) from None
    except (LookupError, TypeError, ValueError, OverflowError, MemoryError, struct.error) as error:
        raise PickleError(f"{name} is damaged: at byte {machine.start}, {shown(str(error))}") from None


# ------------------------------------------------------------------------------------------ what may be named


class Refused(Exception):
    """Something in a pickle that data never need."""


class Name(enum.Enum):
    """The globals that may be named. They stand for themselves on the stack; none is the real thing."""

    RECONSTRUCT = enum.auto()
    FROMBUFFER = enum.auto()
    SCALAR = enum.auto()
    NDARRAY = enum.auto()
    DTYPE = enum.auto()
    ENCODE = enum.auto()
    BYTES = enum.auto()
    ORDERED_DICT = enum.auto()


ADMITTED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Name.RECONSTRUCT for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Name.FROMBUFFER for core in ("core", "_core")},  # protocol 5
    **{(f"numpy.{core}.multiarray", "scalar"): Name.SCALAR for core in ("core", "_core")},
    ("numpy", "ndarray"): Name.NDARRAY,
    ("numpy", "dtype"): Name.DTYPE,
    ("_codecs", "encode"): Name.ENCODE,  # bytes in protocol 2
    **{(module, "bytes"): Name.BYTES for module in ("__builtin__", "builtins")},  # b"" in protocol 2
    ("collections", "OrderedDict"): Name.ORDERED_DICT,
}
NUMERIC_OR_TEXT = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,5}|O[48]?")
SMALL = 1 << 12  # bytes; longer pieces stay views of the file
LARGE = 1 << 20  # bytes; longer texts stay views, too
LONGEST_INTEGER = 16  # bytes; no label or length needs more, and longer ones can be too slow to print
LONGEST_NAME = 256
MOST_DIMENSIONS = 4
DEEPEST, MOST_CONTAINERS = 100, 1 << 20  # an empty one takes a byte of the file and sixty of memory


@dataclass(repr=False, eq=False)
class Text:
    """A large text, which is how protocol 2 stores an array: a view of the file, UTF-8."""

    data: memoryview

    def latin1(self) -> memoryview:
        """Its characters as a byte each, read-only; made piece by piece, to save memory."""
        decoder, result = codecs.getincrementaldecoder("utf-8")(), bytearray()
        for start in range(0, len(self.data), LARGE):
            final = start + LARGE >= len(self.data)
            result += decoder.decode(self.data[start : start + LARGE], final).encode("latin1")
        return memoryview(result).toreadonly()


@dataclass(repr=False, eq=False)
class Dtype:
    """A pickled numpy.dtype, such as 'f4' and '<'."""

    kind: str
    order: str = "="

    def numpy(self) -> np.dtype:
        """The real one, if it is of numbers, text or objects; else ValueError."""
        if not NUMERIC_OR_TEXT.fullmatch(self.kind) or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"dtype {shown(self.order + self.kind)} is none of numbers, text and objects")
        return np.dtype(object if self.kind[0] == "O" else self.order + self.kind)


@dataclass(repr=False, eq=False)
class Array:
    """A pickled numpy.ndarray, all of it as the file claims."""

    shape: tuple = ()
    dtype: Dtype | None = None
    fortran: bool = False
    data: object = None

    def values(self) -> np.ndarray:
        """The real one, read-only and, for numbers, without a copy.

        Raises
        ------
        ValueError
            If the data are not what shape and dtype claim, or objects aren't plain. Nothing is allocated first.
        """
        if self.dtype is None:
            raise ValueError("an array without a state")
        if len(self.shape) > MOST_DIMENSIONS or not all(map(is_size, self.shape)):
            raise ValueError(f"an array claims the shape {shown(self.shape)}")
        dtype, count = self.dtype.numpy(), math.prod(self.shape)
        data = self.data.latin1() if isinstance(self.data, Text) else self.data
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(data, list if dtype.kind == "O" else bytes | memoryview):
            raise ValueError(f"an array of {dtype} holds its data as {kind(data)}")
        if len(data) != (claimed := count if dtype.kind == "O" else count * dtype.itemsize):
            raise ValueError(f"an array of shape {self.shape} and {dtype} needs {claimed} bytes or objects, "
                             f"found {len(data)}")  # fmt: skip
        if dtype.kind == "U" and np.frombuffer(data, self.dtype.order + "u4").max(initial=0) > sys.maxunicode:
            raise ValueError("an array of text holds code points beyond Unicode")  # numpy would not check
        if dtype.kind == "O":
            return objects(data).reshape(self.shape)  # the list is in C order, whatever the array's
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")


def objects(items: list) -> np.ndarray:
    if (strange := next((item for item in items if not plain(item)), plain)) is not plain:
        raise ValueError(f"an object array holds {kind(strange)}; expected text and numbers alone")
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat


def is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def plain(value: object) -> bool:
    return value is None or isinstance(value, str | bytes | int | float | np.generic)


# ------------------------------------------------------------------------------------------ the machine


class Machine:
    """Interpreter of the pickle opcodes that plain data and numpy arrays need.

    Each opcode is a method or an entry of a table below; one that is in none is refused. Memory stays
    proportional to the file: a piece longer than the file is refused before it is read, and `spend` bounds what
    copies of memoized pieces may add up to.
    """

    def __init__(self, data: memoryview) -> None:
        self.data, self.at, self.start = data, 0, 0
        self.stack: list = []
        self.outer: list[list] = []  # the stacks below each mark
        self.memo: dict[int, object] = {}
        self.spent = self.containers = 0

    def run(self) -> object:
        while True:
            self.start = self.at
            code = self.data[self.at]
            self.at += 1
            if code == STOP:
                return self.stack.pop()
            if code in CONSTANTS:
                self.stack.append(CONSTANTS[code])
            elif code in NUMBERS:
                self.stack.append(self.number(NUMBERS[code]))
            elif code in PIECES:
                size, convert = PIECES[code]
                self.stack.append(convert(self.piece(self.number(size))))
            elif code in EMPTY:
                self.containers += 1
                if self.containers > MOST_CONTAINERS:
                    raise Refused(f"makes more than {MOST_CONTAINERS} lists and dicts")
                self.stack.append(EMPTY[code]())
            elif code in ACTIONS:
                ACTIONS[code](self)
            else:
                raise Refused(f"uses the opcode {chr(code)!a}, which arrays and containers don't")

    def number(self, layout: struct.Struct) -> int | float:
        [value] = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value

    def piece(self, length: int) -> memoryview:
        if length > (left := len(self.data) - self.at):
            raise ValueError(f"the next piece has {length} bytes but {left} are left: the file is cut off")
        self.at += length
        return self.data[self.at - length : self.at]

    def line(self) -> str:
        text, newline, _ = bytes(self.data[self.at : self.at + LONGEST_NAME]).partition(b"\n")
        if not newline:
            raise ValueError("a name does not end")
        self.at += len(text) + 1
        return text.decode()

    def spend(self, length: int) -> None:
        self.spent += length
        if self.spent > len(self.data):
            raise Refused("unfolds to more bytes than it has")

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def mark(self) -> None:
        if len(self.outer) >= DEEPEST:
            raise Refused(f"nests more than {DEEPEST} deep")
        self.outer.append(self.stack)
        self.stack = []

    def tuple_since_mark(self) -> None:
        items = tuple(self.since_mark())
        self.stack.append(items)

    def tuple_of(self, count: int) -> None:
        if count > len(self.stack):
            raise ValueError("too few items for a tuple")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError(f"items are added to {kind(self.stack[-1])}")
        self.stack[-1].extend(items)

    def update(self, items: list) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise ValueError(f"{len(items)} keys and values are added to {kind(self.stack[-1])}")
        for key in items[::2]:
            if type(key) not in (str, bytes):  # others can be made slow to hash
                raise Refused(f"has {kind(key)} as a key")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def name(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise ValueError(f"a name is {kind(name)}")
        if (module, name) not in ADMITTED:
            raise Refused(f"names {shown(f'{module}.{name}')}")
        self.stack.append(ADMITTED[module, name])

    def stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(module, name)

    def reduce(self) -> None:
        """Where Python's machine calls a function: here, the few that are known by name and arguments."""
        arguments, name = self.stack.pop(), self.stack.pop()
        match name, arguments:
            case Name.RECONSTRUCT, (Name.NDARRAY, tuple(), bytes() | str()):
                made = Array()
            case Name.FROMBUFFER, (data, Dtype() as dtype, tuple(shape), "C" | "F" as order):
                made = Array(shape, dtype, order == "F", data)
            case Name.DTYPE, (str(code), *_):
                made = Dtype(code)
            case Name.SCALAR, (Dtype() as dtype, bytes() | memoryview() | str() as data):
                made = self.scalar(dtype, data)
            case Name.ENCODE, (str() | Text() as text, "latin1"):
                made = self.encode(text)
            case Name.BYTES, ():
                made = b""
            case Name.ORDERED_DICT, ():
                made = {}
            case _:
                called = name.name.lower() if isinstance(name, Name) else kind(name)
                raise Refused(f"calls {called} with {shown(arguments)}")
        self.stack.append(made)

    def scalar(self, dtype: Dtype, data: bytes | memoryview | str) -> np.generic:
        made = Array((), dtype, data=data).values()
        self.spend(made.nbytes)
        return made[()]

    def encode(self, text: str | Text) -> bytes | str | Text:
        """Large ones stay text until `Array.values`: two forms of the whole file would double its memory."""
        if isinstance(text, Text) or len(text) > SMALL:
            return text
        self.spend(len(text))
        return text.encode("latin1")

    def build(self) -> None:
        """Where Python's machine sets an object's state: here, an array's or a dtype's."""
        state = self.stack.pop()
        match self.stack[-1], state:
            case Array() as made, (int(), tuple(shape), Dtype() as dtype, fortran, data):
                made.shape, made.dtype, made.data = shape, dtype, data
                made.fortran = fortran in (True, 1)
            case Dtype() as made, (int(), str(order), None, None, None, *_):
                made.order = order
            case target, _:
                raise Refused(f"sets {shown(state)} as the state of {kind(target)}")


def integer(piece: memoryview) -> int:
    if len(piece) > LONGEST_INTEGER:
        raise ValueError(f"an integer has {len(piece)} bytes")
    return int.from_bytes(piece, "little", signed=True)


def byte_string(piece: memoryview) -> bytes | memoryview:
    return bytes(piece) if len(piece) <= SMALL else piece


def unicode(piece: memoryview) -> str | Text:
    return str(piece, "utf-8") if len(piece) <= LARGE else Text(piece)


def python2_string(piece: memoryview) -> str | memoryview:
    return str(piece, "latin1") if len(piece) <= LARGE else piece


UINT1, UINT2, UINT4, UINT8 = (struct.Struct(f"<{code}") for code in "BHIQ")
STOP = pickle.STOP[0]
CONSTANTS = {
    pickle.NONE[0]: None,
    pickle.NEWTRUE[0]: True,
    pickle.NEWFALSE[0]: False,
    pickle.EMPTY_TUPLE[0]: (),
}
NUMBERS = {
    pickle.BININT[0]: struct.Struct("<i"),
    pickle.BININT1[0]: UINT1,
    pickle.BININT2[0]: UINT2,
    pickle.BINFLOAT[0]: struct.Struct(">d"),
}
PIECES: dict[int, tuple[struct.Struct, Callable[[memoryview], object]]] = {
    pickle.LONG1[0]: (UINT1, integer),
    pickle.LONG4[0]: (UINT4, integer),
    pickle.SHORT_BINSTRING[0]: (UINT1, python2_string),
    pickle.BINSTRING[0]: (UINT4, python2_string),
    pickle.SHORT_BINBYTES[0]: (UINT1, byte_string),
    pickle.BINBYTES[0]: (UINT4, byte_string),
    pickle.BINBYTES8[0]: (UINT8, byte_string),
    pickle.BYTEARRAY8[0]: (UINT8, byte_string),
    pickle.SHORT_BINUNICODE[0]: (UINT1, unicode),
    pickle.BINUNICODE[0]: (UINT4, unicode),
    pickle.BINUNICODE8[0]: (UINT8, unicode),
}
EMPTY = {pickle.EMPTY_LIST[0]: list, pickle.EMPTY_DICT[0]: dict}
ACTIONS: dict[int, Callable[[Machine], object]] = {
    pickle.PROTO[0]: lambda m: m.number(UINT1),
    pickle.FRAME[0]: lambda m: m.number(UINT8),  # a hint for buffering
    pickle.MARK[0]: Machine.mark,
    pickle.TUPLE[0]: Machine.tuple_since_mark,
    pickle.TUPLE1[0]: lambda m: m.tuple_of(1),
    pickle.TUPLE2[0]: lambda m: m.tuple_of(2),
    pickle.TUPLE3[0]: lambda m: m.tuple_of(3),
    pickle.APPEND[0]: lambda m: m.extend([m.stack.pop()]),
    pickle.APPENDS[0]: lambda m: m.extend(m.since_mark()),
    pickle.SETITEM[0]: lambda m: m.update([m.stack.pop(-2), m.stack.pop()]),
    pickle.SETITEMS[0]: lambda m: m.update(m.since_mark()),
    pickle.BINPUT[0]: lambda m: m.put(m.number(UINT1)),
    pickle.LONG_BINPUT[0]: lambda m: m.put(m.number(UINT4)),
    pickle.MEMOIZE[0]: lambda m: m.put(len(m.memo)),
    pickle.BINGET[0]: lambda m: m.stack.append(m.memo[m.number(UINT1)]),
    pickle.LONG_BINGET[0]: lambda m: m.stack.append(m.memo[m.number(UINT4)]),
    pickle.GLOBAL[0]: lambda m: m.name(m.line(), m.line()),
    pickle.STACK_GLOBAL[0]: Machine.stack_name,
    pickle.REDUCE[0]: Machine.reduce,
    pickle.BUILD[0]: Machine.build,
}


def shown(value: object) -> str:
    """A value from a file, short and printable."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return ascii(text)[1:-1][:200]


def kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"a {type(value).__name__}"
