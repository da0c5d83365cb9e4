"""Values of AMQP 1.0 to bytes.

Source: OASIS standard AMQP 1.0, part 1 (types).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from .types import (
    LIST0,
    Array,
    Byte,
    Char,
    Decimal,
    Described,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)


def encode(out: bytearray, value: Any) -> None:
    """Append a value.

    Raises:
        ValueError: it is out of the range of its type, or of a type that AMQP does not have.
    """
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise ValueError(f"AMQP has no type for {type(value).__name__}")
    try:
        writer(out, value)
    except (OverflowError, struct.error) as error:
        raise ValueError(f"{value!r:.40} is out of the range of {type(value).__name__}") from error


def encoded(value: Any) -> bytes:
    """A value as bytes."""
    out = bytearray()
    encode(out, value)
    return bytes(out)


def encode_uint(out: bytearray, value: int) -> None:
    """Append a ``uint``."""
    if not value:
        out.append(0x43)
    elif value < 256:
        out += bytes((0x52, value))
    else:
        out += b"\x70" + value.to_bytes(4, "big")


def encode_ulong(out: bytearray, value: int) -> None:
    """Append a ``ulong``."""
    if not value:
        out.append(0x44)
    elif value < 256:
        out += bytes((0x53, value))
    else:
        out += b"\x80" + value.to_bytes(8, "big")


def encode_boolean(out: bytearray, value: bool) -> None:
    """Append a ``boolean``."""
    out.append(0x41 if value else 0x42)


def encode_ubyte(out: bytearray, value: int) -> None:
    """Append a ``ubyte``."""
    out += bytes((0x50, value))


def encode_ushort(out: bytearray, value: int) -> None:
    """Append a ``ushort``."""
    out += b"\x60" + value.to_bytes(2, "big")


def encode_string(out: bytearray, value: str) -> None:
    """Append a ``string``."""
    _encode_bytes(out, 0xA1, value.encode())


def encode_symbol(out: bytearray, value: str) -> None:
    """Append a ``symbol``."""
    _encode_bytes(out, 0xA3, value.encode("ascii"))


def encode_binary(out: bytearray, value: bytes) -> None:
    """Append a ``binary``."""
    _encode_bytes(out, 0xA0, value)


def encode_list(out: bytearray, items: Sequence[Any]) -> None:
    """Append a list."""
    body = bytearray()
    for item in items:
        encode(body, item)
    put_list(out, body, len(items))


def put_list(out: bytearray, body: bytes | bytearray, count: int) -> None:
    """Append a list whose items are bytes already."""
    if not count:
        out.append(LIST0)
    else:
        _put_compound(out, 0xC0, body, count)


def _encode_bytes(out: bytearray, code: int, value: bytes) -> None:
    """The code of what has a length of one byte is 0x10 below that of what has one of four."""
    if len(value) < 256:
        out += bytes((code, len(value)))
    else:
        out.append(code + 0x10)
        out += len(value).to_bytes(4, "big")
    out += value


def _put_compound(out: bytearray, code: int, body: bytes | bytearray, count: int) -> None:
    if len(body) < 255 and count < 256:
        out += bytes((code, len(body) + 1, count))
    else:
        out.append(code + 0x10)
        out += (len(body) + 4).to_bytes(4, "big") + count.to_bytes(4, "big")
    out += body


def _encode_map(out: bytearray, value: Mapping[Any, Any]) -> None:
    body = bytearray()
    for key, item in value.items():
        encode(body, key)
        encode(body, item)
    _put_compound(out, 0xC1, body, 2 * len(value))


def _encode_described(out: bytearray, value: Described) -> None:
    out.append(0)
    encode(out, value.descriptor)
    encode(out, value.value)


def _encode_int(out: bytearray, value: int) -> None:
    out += bytes((0x54, value & 0xFF)) if -128 <= value < 128 else b"\x71" + value.to_bytes(4, "big", signed=True)


def _encode_long(out: bytearray, value: int) -> None:
    out += bytes((0x55, value & 0xFF)) if -128 <= value < 128 else b"\x81" + value.to_bytes(8, "big", signed=True)


def _packed(code: int, layout: str) -> Callable[[bytearray, Any], None]:
    pack = struct.Struct(">" + layout).pack

    def write(out: bytearray, value: Any) -> None:
        out.append(code)
        out += pack(value)

    return write


_DECIMALS = {4: 0x74, 8: 0x84, 16: 0x94}


def _encode_decimal(out: bytearray, value: Decimal) -> None:
    out.append(_DECIMALS[len(value)])
    out += value


def _encode_char(out: bytearray, value: Char) -> None:
    out += b"\x73" + ord(value).to_bytes(4, "big")


def _encode_uuid(out: bytearray, value: UUID) -> None:
    out += b"\x98" + value.bytes


def _encode_array(out: bytearray, value: Array) -> None:
    body = bytearray()
    if value.descriptor is not None:
        body.append(0)
        encode(body, value.descriptor)
    code, write = _array_code(value)
    body.append(code)
    for item in value.items:
        if type(item) is not value.kind:
            raise ValueError(f"an array of {value.kind.__name__} has an item of {type(item).__name__}")
        write(body, item)
    _put_compound(out, 0xE0, body, len(value.items))


def _sized(encode_body: Callable[[bytearray, Any], int | None]) -> Callable[[bytearray, Any], None]:
    """Write an item with the width of four bytes; what the function returns is the count of a compound item."""

    def write(out: bytearray, value: Any) -> None:
        body = bytearray()
        count = encode_body(body, value)
        if count is None:
            out += len(body).to_bytes(4, "big")
        else:
            out += (len(body) + 4).to_bytes(4, "big") + count.to_bytes(4, "big")
        out += body

    return write


def _list_body(out: bytearray, value: list[Any]) -> int:
    for item in value:
        encode(out, item)
    return len(value)


def _map_body(out: bytearray, value: dict[Any, Any]) -> int:
    for key, item in value.items():
        encode(out, key)
        encode(out, item)
    return len(value) * 2


def _array_body(out: bytearray, value: Array) -> int:
    if value.descriptor is not None:
        out.append(0)
        encode(out, value.descriptor)
    code, write = _array_code(value)
    out.append(code)
    for item in value.items:
        write(out, item)
    return len(value.items)


def _appended(make: Callable[[Any], bytes]) -> Callable[[bytearray, Any], None]:
    def write(out: bytearray, value: Any) -> None:
        out += make(value)

    return write


def _whole(code: int, layout: str) -> tuple[int, Callable[[bytearray, Any], None]]:
    return code, _appended(struct.Struct(">" + layout).pack)


#: Code and writer of an item in an array, whose items all have the same width.
_IN_ARRAYS: Mapping[type, tuple[int, Callable[[bytearray, Any], None]]] = {
    type(None): (0x40, _appended(lambda value: b"")),
    bool: _whole(0x56, "?"),
    UByte: _whole(0x50, "B"),
    UShort: _whole(0x60, "H"),
    UInt: _whole(0x70, "I"),
    ULong: _whole(0x80, "Q"),
    Byte: _whole(0x51, "b"),
    Short: _whole(0x61, "h"),
    Int: _whole(0x71, "i"),
    int: _whole(0x81, "q"),
    Float: _whole(0x72, "f"),
    float: _whole(0x82, "d"),
    Char: (0x73, _appended(lambda value: ord(value).to_bytes(4, "big"))),
    Timestamp: _whole(0x83, "q"),
    UUID: (0x98, _appended(lambda value: bytes(value.bytes))),
    bytes: (0xB0, _sized(lambda out, value: out.extend(value))),
    str: (0xB1, _sized(lambda out, value: out.extend(value.encode()))),
    Symbol: (0xB3, _sized(lambda out, value: out.extend(value.encode("ascii")))),
    list: (0xD0, _sized(_list_body)),
    dict: (0xD1, _sized(_map_body)),
    Array: (0xF0, _sized(_array_body)),
}


def _array_code(value: Array) -> tuple[int, Callable[[bytearray, Any], None]]:
    if value.kind is Decimal:
        widths = {len(item) for item in value.items} or {4}
        if len(widths) > 1:
            raise ValueError("an array has decimal numbers of different widths")
        return _DECIMALS[widths.pop()], _appended(bytes)
    found = _IN_ARRAYS.get(value.kind)
    if found is None:
        raise ValueError(f"AMQP has no array of {value.kind.__name__}")
    return found


_WRITERS: Mapping[type, Callable[[bytearray, Any], None]] = {
    type(None): lambda out, value: out.append(0x40),
    bool: encode_boolean,
    UByte: encode_ubyte,
    UShort: encode_ushort,
    UInt: encode_uint,
    ULong: encode_ulong,
    Byte: _packed(0x51, "b"),
    Short: _packed(0x61, "h"),
    Int: _encode_int,
    int: _encode_long,
    Float: _packed(0x72, "f"),
    float: _packed(0x82, "d"),
    Decimal: _encode_decimal,
    Char: _encode_char,
    Timestamp: _packed(0x83, "q"),
    UUID: _encode_uuid,
    bytes: encode_binary,
    str: encode_string,
    Symbol: encode_symbol,
    list: encode_list,
    dict: _encode_map,
    Described: _encode_described,
    Array: _encode_array,
}
