"""The types of AMQP 1.0, and bytes to values; :mod:`.encoding` makes bytes of them.

Where Python has one type and AMQP several, a subclass says which one is meant: :class:`UInt` is an ``int`` that
travels as ``uint``. A plain ``int`` is a ``long``, a plain ``float`` a ``double``. Values that were decoded can be
encoded again and have the same types then.

Source: OASIS standard AMQP 1.0, part 1 (types).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from .errors import AmqpDecodeError

#: Values inside each other, deeper than any message of a known client.
MAX_DEPTH = 32
#: Items of an array that take no bytes each; a few bytes could ask for millions of them.
MAX_EMPTY_ITEMS = 1_024


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

_Reader = Callable[[bytes, int], tuple[Any, int]]
_Number = TypeVar("_Number")


def _fixed(code: str, kind: Callable[[Any], _Number]) -> _Reader:
    layout = struct.Struct(">" + code)
    size, unpack = layout.size, layout.unpack_from

    def read(data: bytes, position: int) -> tuple[_Number, int]:
        return kind(unpack(data, position)[0]), position + size

    return read


def _constant(make: Callable[[], Any]) -> _Reader:
    return lambda data, position: (make(), position)


def _small(kind: Callable[[int], Any]) -> _Reader:
    return lambda data, position: (kind(data[position]), position + 1)


def _signed_small(kind: Callable[[int], Any]) -> _Reader:
    return lambda data, position: (kind((data[position] ^ 0x80) - 0x80), position + 1)


def _raw(size: int, kind: Callable[[bytes], Any]) -> _Reader:
    return lambda data, position: (kind(_piece(data, position, size)), position + size)


def _variable(width: int, kind: Callable[[bytes], Any]) -> _Reader:
    def read(data: bytes, position: int) -> tuple[Any, int]:
        start = position + width
        size = int.from_bytes(_piece(data, position, width), "big")
        return kind(_piece(data, start, size)), start + size

    return read


def _piece(data: bytes, position: int, size: int) -> bytes:
    piece = data[position : position + size]
    if len(piece) != size:
        raise AmqpDecodeError(f"{size} bytes should follow, there are {len(piece)}")
    return piece


def _text(piece: bytes) -> str:
    return str(piece, "utf-8")


def _symbol(piece: bytes) -> Symbol:
    return Symbol(piece, "ascii")


def _char(number: int) -> Char:
    if 0xD800 <= number <= 0xDFFF or number > 0x10FFFF:
        raise AmqpDecodeError(f"0x{number:x} is no Unicode character")
    return Char(chr(number))


def _boolean(number: int) -> bool:
    if number > 1:
        raise AmqpDecodeError(f"a boolean is 0 or 1, not {number}")
    return number == 1


def _uuid(piece: bytes) -> UUID:
    return UUID(bytes=piece)


_READERS: Mapping[int, _Reader] = {
    0x40: _constant(lambda: None),
    0x41: _constant(lambda: True),
    0x42: _constant(lambda: False),
    0x56: _small(_boolean),
    0x50: _small(UByte),
    0x60: _fixed("H", UShort),
    0x70: _fixed("I", UInt),
    0x52: _small(UInt),
    0x43: _constant(lambda: UInt(0)),
    0x80: _fixed("Q", ULong),
    0x53: _small(ULong),
    0x44: _constant(lambda: ULong(0)),
    0x51: _fixed("b", Byte),
    0x61: _fixed("h", Short),
    0x71: _fixed("i", Int),
    0x54: _signed_small(Int),
    0x81: _fixed("q", int),
    0x55: _signed_small(int),
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
    0xA1: _variable(1, _text),
    0xB1: _variable(4, _text),
    0xA3: _variable(1, _symbol),
    0xB3: _variable(4, _symbol),
}
#: Codes of lists, maps and arrays, with the width of their sizes.
LIST0, _LISTS, _MAPS, _ARRAYS = 0x45, {0xC0: 1, 0xD0: 4}, {0xC1: 1, 0xD1: 4}, {0xE0: 1, 0xF0: 4}
_EMPTY = frozenset({0x40, 0x41, 0x42, 0x43, 0x44, 0x45})
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
        return _decode(data, position, 0)
    except (IndexError, struct.error) as error:
        raise AmqpDecodeError("the bytes end in the middle of a value") from error
    except UnicodeDecodeError as error:
        raise AmqpDecodeError(f"a text is not valid {error.encoding}") from error


def _decode(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    code = data[position]
    reader = _READERS.get(code)
    if reader is not None:
        return reader(data, position + 1)
    if depth >= MAX_DEPTH:
        raise AmqpDecodeError(f"values stand more than {MAX_DEPTH} deep in each other")
    if code:
        return _compound(code, data, position + 1, depth)
    descriptor, position = _decode(data, position + 1, depth + 1)
    value, position = _decode(data, position, depth + 1)
    return Described(descriptor, value), position


def _compound(code: int, data: bytes, position: int, depth: int) -> tuple[Any, int]:
    """A list, a map or an array, without the code before it."""
    if code == LIST0:
        return [], position
    width = _LISTS.get(code) or _MAPS.get(code) or _ARRAYS.get(code)
    if width is None:
        raise AmqpDecodeError(f"0x{code:02x} is the code of no type")
    size = int.from_bytes(_piece(data, position, width), "big")
    end = position + width + size
    count = int.from_bytes(_piece(data, position + width, width), "big")
    if end > len(data):
        raise AmqpDecodeError(f"{size} bytes should follow, there are {len(data) - position - width}")
    position += 2 * width
    value: Any
    if code in _ARRAYS:
        value, position = _items(data, position, count, depth)
    else:
        if count > end - position:
            raise AmqpDecodeError(f"{count} items do not fit into {end - position} bytes")
        items = []
        for _ in range(count):
            item, position = _decode(data, position, depth + 1)
            items.append(item)
        value = items if code in _LISTS else _mapping(items)
    if position != end:
        raise AmqpDecodeError(f"the items take {position - end + size} bytes, not {size}")
    return value, end


def _mapping(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise AmqpDecodeError(f"a map has {len(items)} items, the last one without a value")
    try:
        return dict(zip(items[::2], items[1::2], strict=True))
    except TypeError as error:
        raise AmqpDecodeError(
            "a map has a list, a map or an array as a key, which this simulator does not read"
        ) from error


def _items(data: bytes, position: int, count: int, depth: int) -> tuple[Array, int]:
    descriptor = None
    code = data[position]
    if code == 0:
        descriptor, position = _decode(data, position + 1, depth + 1)
        code = data[position]
    kind = _KINDS.get(code)
    if kind is None:
        raise AmqpDecodeError(f"0x{code:02x} is the code of no type whose values can stand in an array")
    position += 1
    if count > (MAX_EMPTY_ITEMS if code in _EMPTY else len(data) - position):
        raise AmqpDecodeError(f"an array has {count} items, which do not fit")
    reader = _READERS.get(code)
    if reader is None and depth + 1 >= MAX_DEPTH:
        raise AmqpDecodeError(f"values stand more than {MAX_DEPTH} deep in each other")
    items = []
    for _ in range(count):
        if reader is not None:
            item, position = reader(data, position)
        else:
            item, position = _compound(code, data, position, depth + 1)
        items.append(item)
    return Array(kind, tuple(items), descriptor), position
