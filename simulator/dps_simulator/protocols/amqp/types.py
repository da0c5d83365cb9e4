"""The types of AMQP 1.0, and bytes to values; :mod:`.encoding` makes bytes of them.

Where Python has one type and AMQP several, a subclass says which one is meant: :class:`UInt` is an ``int`` that
travels as ``uint``. A plain ``int`` is a ``long``, a plain ``float`` a ``double``. Values that were decoded can be
encoded again and have the same types then.

Source: OASIS standard AMQP 1.0, part 1 (types).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from .errors import AmqpDecodeError

#: Values inside each other, deeper than any message of a known client.
MAX_DEPTH = 32
#: Items of an array that take no bytes each: a few bytes could ask for any number of them.
MAX_EMPTY_ITEMS = 16


class Symbol(str):
    """A name in ASCII."""

    __slots__ = ()


class Char(str):
    """One Unicode character."""

    __slots__ = ()


class UByte(int):
    """0 to 255."""

    __slots__ = ()


class UShort(int):
    """0 to 65,535."""

    __slots__ = ()


class UInt(int):
    """0 to 2³² - 1."""

    __slots__ = ()


class ULong(int):
    """0 to 2⁶⁴ - 1."""

    __slots__ = ()


class Byte(int):
    """-128 to 127."""

    __slots__ = ()


class Short(int):
    """16 bits with a sign."""

    __slots__ = ()


class Int(int):
    """32 bits with a sign."""

    __slots__ = ()


class Timestamp(int):
    """Milliseconds since 1970 in UTC."""

    __slots__ = ()


class Float(float):
    """A number of 32 bits."""

    __slots__ = ()


class Decimal(bytes):
    """A decimal number of 4, 8 or 16 bytes, as IEEE 754 has it. Nobody here reads them."""

    __slots__ = ()


class Described(NamedTuple):
    """A value with a name for what it means."""

    descriptor: Any
    value: Any


class Array(NamedTuple):
    """Values of one type.

    Attributes:
        kind: their type in Python.
        items: the values.
        descriptor: what they mean, ``None`` where nothing is said.
    """

    kind: type
    items: tuple[Any, ...]
    descriptor: Any = None


def symbols(*names: str) -> Array:
    """An array of symbols."""
    return Array(Symbol, tuple(map(Symbol, names)))


# --- decoding --------------------------------------------------------------------------------------------------------

#: Bytes, where the value begins behind its code, and how deep it stands; gives the value and where the next one begins.
_Reader = Callable[[bytes, int, int], tuple[Any, int]]
_Number = TypeVar("_Number")
_LENGTH = struct.Struct(">I").unpack_from
_LENGTH_AND_COUNT = struct.Struct(">II").unpack_from


def _fixed(code: str, kind: Callable[[Any], _Number]) -> _Reader:
    layout = struct.Struct(">" + code)
    size, unpack = layout.size, layout.unpack_from

    def read(data: bytes, position: int, _: int) -> tuple[_Number, int]:
        return kind(unpack(data, position)[0]), position + size

    return read


def _constant(value: Any) -> _Reader:
    return lambda data, position, depth: (value, position)


def _small(kind: Callable[[int], Any], first: int = 0) -> _Reader:
    """A number of one byte: each of them is made once. They stand in the order in which Python counts bytes."""
    values = [kind(first + number) for number in range(256)]
    values = values[-first:] + values[:-first]
    return lambda data, position, depth: (values[data[position]], position + 1)


def _raw(size: int, kind: Callable[[bytes], Any]) -> _Reader:
    return lambda data, position, depth: (kind(_piece(data, position, position + size)), position + size)


def _variable(width: int, kind: Callable[[bytes], Any]) -> _Reader:
    def read(data: bytes, position: int, _: int) -> tuple[Any, int]:
        start = position + width
        end = start + (data[position] if width == 1 else _LENGTH(data, position)[0])
        return kind(_piece(data, start, end)), end

    return read


def _piece(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise AmqpDecodeError(f"{end - start} bytes should follow, there are {len(data) - start}")
    return data[start:end]


def _symbol(piece: bytes) -> Symbol:
    return Symbol(piece, "ascii")


def _char(number: int) -> Char:
    if 0xD800 <= number <= 0xDFFF or number > 0x10FFFF:
        raise AmqpDecodeError(f"0x{number:x} is no Unicode character")
    return Char(chr(number))


def _boolean(data: bytes, position: int, _: int) -> tuple[bool, int]:
    number = data[position]
    if number > 1:
        raise AmqpDecodeError(f"a boolean is 0 or 1, not {number}")
    return number == 1, position + 1


def _uuid(piece: bytes) -> UUID:
    return UUID(bytes=piece)


def _compound(width: int, items: Callable[[bytes, int, int, int, int], tuple[Any, int]]) -> _Reader:
    """A list, a map or an array: its size and the count of its items stand before them, each in so many bytes."""

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        if depth >= MAX_DEPTH:
            raise AmqpDecodeError(f"values stand more than {MAX_DEPTH} deep in each other")
        start = position + 2 * width
        size, count = (data[position], data[position + 1]) if width == 1 else _LENGTH_AND_COUNT(data, position)
        end = position + width + size
        if end > len(data):
            raise AmqpDecodeError(f"{size} bytes should follow, there are {len(data) - position - width}")
        value, position = items(data, start, end, count, depth + 1)
        if position != end:
            raise AmqpDecodeError(f"the items take {position - start + width} bytes, not {size}")
        return value, end

    return read


def _check_count(count: int, room: int) -> None:
    if count > room:
        raise AmqpDecodeError(f"{count} items do not fit into {room} bytes")


def _list(data: bytes, position: int, end: int, count: int, depth: int) -> tuple[list[Any], int]:
    _check_count(count, end - position)
    readers = _READERS
    items = []
    for _ in range(count):
        item, position = readers[data[position]](data, position + 1, depth)
        items.append(item)
    return items, position


#: What cannot be found by its hash, or for what a client could choose thousands with the same hash.
_NO_KEYS = (list, dict, Array, Described, UUID)


def _map(data: bytes, position: int, end: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    items, position = _list(data, position, end, count, depth)
    if count % 2:
        raise AmqpDecodeError(f"a map has {count} items, the last one without a value")
    keys = items[::2]
    for key in keys:
        if isinstance(key, _NO_KEYS):
            raise AmqpDecodeError(f"a map has a {type(key).__name__} as a key, which this simulator does not read")
    return dict(zip(keys, items[1::2], strict=True)), position


def _array(data: bytes, position: int, end: int, count: int, depth: int) -> tuple[Array, int]:
    if position == end and not count:
        # azure-eventhub for Python leaves out the type of nothing
        return Array(type(None), ()), position
    descriptor = None
    code = data[position]
    if not code:
        descriptor, position = _READERS[data[position + 1]](data, position + 2, depth)
        code = data[position]
    kind = _KINDS.get(code)
    if kind is None:
        raise AmqpDecodeError(f"0x{code:02x} is the code of no type whose values can stand in an array")
    position += 1
    reader = _READERS[code]
    if code in _EMPTY:
        _check_count(count, MAX_EMPTY_ITEMS)
        # one value for all of them
        return Array(kind, (reader(data, position, depth)[0],) * count, descriptor), position
    _check_count(count, end - position)
    items = []
    for _ in range(count):
        item, position = reader(data, position, depth)
        items.append(item)
    return Array(kind, tuple(items), descriptor), position


def _described(data: bytes, position: int, depth: int) -> tuple[Described, int]:
    if depth >= MAX_DEPTH:
        raise AmqpDecodeError(f"values stand more than {MAX_DEPTH} deep in each other")
    descriptor, position = _READERS[data[position]](data, position + 1, depth + 1)
    value, position = _READERS[data[position]](data, position + 1, depth + 1)
    return Described(descriptor, value), position


def _unknown(data: bytes, position: int, _: int) -> tuple[Any, int]:
    raise AmqpDecodeError(f"0x{data[position - 1]:02x} is the code of no type")


#: Codes of an empty list, and of lists, maps and arrays.
LIST0, _LISTS, _MAPS, _ARRAYS = 0x45, (0xC0, 0xD0), (0xC1, 0xD1), (0xE0, 0xF0)
_EMPTY = frozenset({0x40, 0x41, 0x42, 0x43, 0x44, LIST0})
_BY_CODE: Mapping[int, _Reader] = {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x56: _boolean,
    0x50: _small(UByte),
    0x60: _fixed("H", UShort),
    0x70: _fixed("I", UInt),
    0x52: _small(UInt),
    0x43: _constant(UInt(0)),
    0x80: _fixed("Q", ULong),
    0x53: _small(ULong),
    0x44: _constant(ULong(0)),
    0x51: _small(Byte, -128),
    0x61: _fixed("h", Short),
    0x71: _fixed("i", Int),
    0x54: _small(Int, -128),
    0x81: _fixed("q", int),
    0x55: _small(int, -128),
    0x72: _fixed("f", Float),
    0x82: _fixed("d", float),
    0x74: _raw(4, Decimal),
    0x84: _raw(8, Decimal),
    0x94: _raw(16, Decimal),
    0x73: _fixed("I", _char),
    0x83: _fixed("q", Timestamp),
    0x98: _raw(16, _uuid),
    0xA0: _variable(1, bytes),
    0xB0: _variable(4, bytes),
    0xA1: _variable(1, bytes.decode),
    0xB1: _variable(4, bytes.decode),
    0xA3: _variable(1, _symbol),
    0xB3: _variable(4, _symbol),
    LIST0: lambda data, position, depth: ([], position),
    0xC0: _compound(1, _list),
    0xD0: _compound(4, _list),
    0xC1: _compound(1, _map),
    0xD1: _compound(4, _map),
    0xE0: _compound(1, _array),
    0xF0: _compound(4, _array),
}
_READERS = [_BY_CODE.get(code, _unknown) for code in range(256)]
#: What the items of an array are in Python, by the code that stands before them.
_KINDS: Mapping[int, type] = {
    0x40: type(None),
    **dict.fromkeys((0x41, 0x42, 0x56), bool),
    0x50: UByte,
    0x60: UShort,
    **dict.fromkeys((0x70, 0x52, 0x43), UInt),
    **dict.fromkeys((0x80, 0x53, 0x44), ULong),
    0x51: Byte,
    0x61: Short,
    **dict.fromkeys((0x71, 0x54), Int),
    **dict.fromkeys((0x81, 0x55), int),
    0x72: Float,
    0x82: float,
    **dict.fromkeys((0x74, 0x84, 0x94), Decimal),
    0x73: Char,
    0x83: Timestamp,
    0x98: UUID,
    **dict.fromkeys((0xA0, 0xB0), bytes),
    **dict.fromkeys((0xA1, 0xB1), str),
    **dict.fromkeys((0xA3, 0xB3), Symbol),
    **dict.fromkeys((LIST0, *_LISTS), list),
    **dict.fromkeys(_MAPS, dict),
    **dict.fromkeys(_ARRAYS, Array),
}


def decode(data: bytes, position: int = 0) -> tuple[Any, int]:
    """Read one value.

    Arguments:
        data: the bytes.
        position: where in them the value begins.

    Returns:
        The value, and where the next one begins.

    Raises:
        AmqpDecodeError: there is no value, or it does not end.
    """
    try:
        return _READERS[data[position]](data, position + 1, 0)
    except (IndexError, struct.error) as error:
        raise AmqpDecodeError("the bytes end in the middle of a value") from error
    except UnicodeDecodeError as error:
        raise AmqpDecodeError(f"a text is not valid {error.encoding}") from error


def weigh(value: Any) -> int:
    """About how many bytes of memory a value takes that was decoded."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(map(weigh, value)) + sum(map(weigh, value.values()))
    return size + sum(map(weigh, value)) if isinstance(value, (list, tuple)) else size
