"""Lists whose items have names: what stands in frames and messages of AMQP.

A composite is a class with a line per field, in the order of the standard::

    @composite(0x18, "amqp:close:list")
    class Close:
        error: Error | None = optional(ERROR)

Source: OASIS standard AMQP 1.0, part 1, section 1.4.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, dataclass_transform

from .encoding import (
    encode,
    encode_binary,
    encode_boolean,
    encode_string,
    encode_symbol,
    encode_ubyte,
    encode_uint,
    encode_ulong,
    encode_ushort,
    put_list,
)
from .errors import AmqpDecodeError, AmqpProtocolError, Condition
from .types import Array, Described, Symbol, Timestamp, decode, weigh

_Made = TypeVar("_Made")
_KIND, _DEFAULT, _MANDATORY = "kind", "default", "mandatory"
#: What stands before a descriptor that is a number of one byte, as all of the standard are.
_SHORT_DESCRIPTOR = b"\x00\x53"


class Kind(NamedTuple):
    """The type of a field.

    Attributes:
        write: appends a value to bytes.
        read: gives a decoded value as the field has it; raises ``TypeError`` or ``ValueError`` where it does not fit.
    """

    write: Callable[[bytearray, Any], None]
    read: Callable[[Any], Any]


class Composite(Protocol):
    """What :func:`composite` makes of a class."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


class _Layout(NamedTuple):
    """How a composite travels.

    Attributes:
        kind: its class.
        head: its descriptor as bytes.
        get: gives the values of its fields, in their order.
        writes: for each field what writes it, and the default, which need not be written.
        reads: for each field its name and what reads it.
        mandatory: the names of fields that must be there.
    """

    kind: Callable[..., Any]
    head: bytes
    get: Callable[[Any], tuple[Any, ...]]
    writes: tuple[tuple[Callable[[bytearray, Any], None], Any], ...]
    reads: tuple[tuple[str, Callable[[Any], Any]], ...]
    mandatory: tuple[str, ...]


_BY_CLASS: dict[type, _Layout] = {}
_BY_DESCRIPTOR: dict[Any, _Layout] = {}


def mandatory(kind: Kind) -> Any:
    """A field that must be there."""
    return dataclasses.field(metadata={_KIND: kind, _MANDATORY: True})


def optional(kind: Kind, *, default: Any = None) -> Any:
    """A field that may be missing, and what is meant then."""
    return dataclasses.field(default=default, metadata={_KIND: kind, _DEFAULT: default})


@dataclass_transform(kw_only_default=True, field_specifiers=(mandatory, optional))
def composite(code: int, name: str) -> Callable[[type[_Made]], type[_Made]]:
    """Make a composite of a class.

    Arguments:
        code: its descriptor as a number; all numbers of the standard fit into a byte.
        name: its descriptor as a symbol.
    """

    def make(plain: type[_Made]) -> type[_Made]:
        made: type[_Made] = dataclasses.dataclass(kw_only=True, slots=True)(plain)
        fields = dataclasses.fields(made)  # type: ignore[arg-type]
        names = tuple(each.name for each in fields)
        layout = _Layout(
            made,
            bytes((0, 0x53, code)),
            # attrgetter gives a tuple of two or more only
            attrgetter(*names) if len(names) > 1 else lambda value: tuple(getattr(value, name) for name in names),
            tuple((each.metadata[_KIND].write, each.metadata.get(_DEFAULT)) for each in fields),
            tuple((each.name, each.metadata[_KIND].read) for each in fields),
            tuple(each.name for each in fields if _MANDATORY in each.metadata),
        )
        _BY_CLASS[made] = _BY_DESCRIPTOR[code] = _BY_DESCRIPTOR[Symbol(name)] = layout
        return made

    return make


def encode_composite(out: bytearray, value: Composite) -> None:
    """Append a composite, with a null for each field that says nothing: azure-eventhub for Python counts on all."""
    layout = _BY_CLASS[type(value)]
    body = bytearray()
    for item, (write, default) in zip(layout.get(value), layout.writes, strict=True):
        if item is None or item == default:
            body.append(0x40)
        else:
            write(body, item)
    out += layout.head
    put_list(out, body, len(layout.writes))


def decode_composite(data: bytes) -> tuple[Any, int]:
    """Read a composite at the beginning of bytes; gives it, and where what follows begins.

    Raises:
        AmqpDecodeError: there is none that the standard has.
        AmqpProtocolError: a field is missing, or of another type.
    """
    if data.startswith(_SHORT_DESCRIPTOR) and data[2:3]:
        items, end = decode(data, 3)
        return _made(data[2], items), end
    value, end = decode(data)
    return read_composite(value), end


def read_composite(value: Any) -> Any:
    """Make a composite of a value that was decoded.

    Raises:
        AmqpDecodeError: it is none that the standard has.
        AmqpProtocolError: a field is missing, or of another type.
    """
    if not isinstance(value, Described):
        raise AmqpDecodeError(f"a described list should stand here, not a value of {type(value).__name__}")
    return _made(value.descriptor, value.value)


def _made(descriptor: Any, items: Any) -> Any:
    layout = _BY_DESCRIPTOR.get(descriptor) if isinstance(descriptor, (int, str)) else None
    if layout is None:
        raise AmqpDecodeError(f"{descriptor!r:.80} is the descriptor of nothing that is known here")
    if not isinstance(items, list) or len(items) > len(layout.reads):
        raise AmqpDecodeError(f"{_name(layout)} is not a list of at most {len(layout.reads)} fields")
    fields: dict[str, Any] = {}
    name, item = "", None
    try:
        for (name, read), item in zip(layout.reads, items, strict=False):
            if item is not None:
                fields[name] = read(item)
    except (TypeError, ValueError) as error:
        what = f"{_spelt(name)} of {_name(layout)} is a value of {type(item).__name__}, which does not fit"
        raise AmqpProtocolError(what, Condition.INVALID_FIELD) from error
    for name in layout.mandatory:
        if name not in fields:
            raise AmqpProtocolError(f"{_spelt(name)} of {_name(layout)} is missing", Condition.INVALID_FIELD)
    return layout.kind(**fields)


def _name(layout: _Layout) -> str:
    return getattr(layout.kind, "__name__", "")


def _spelt(name: str) -> str:
    return name.replace("_", "-")


def weigh_composite(value: Composite) -> int:
    """About how many bytes of memory a composite takes that was read."""
    parts = _BY_CLASS[type(value)].get(value)
    return sys.getsizeof(value) + sum(
        weigh_composite(part) if type(part) in _BY_CLASS else weigh(part) for part in parts
    )


# --- types of fields --------------------------------------------------------------------------------------------------


def _whole_number(limit: int, least: int = 0) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= limit:
            raise ValueError
        return int(value)

    return read


def _instance(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return read


def _plain_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(value)


def _ascii(value: Any) -> str:
    """Some clients send a text for a symbol; it comes back as a symbol where it is repeated to them."""
    if not isinstance(value, str) or not value.isascii():
        raise TypeError
    return str(value)


def _read_symbols(value: Any) -> tuple[str, ...]:
    """Several symbols are an array; a single one may stand for itself."""
    items = value.items if isinstance(value, Array) else (value,)
    return tuple(map(_ascii, items))


def _write_symbols(out: bytearray, value: tuple[str, ...]) -> None:
    encode(out, Array(Symbol, tuple(map(Symbol, value))))


def _write_timestamp(out: bytearray, value: int) -> None:
    encode(out, Timestamp(value))


def _write_composite_or_other(out: bytearray, value: Any) -> None:
    if type(value) in _BY_CLASS:
        encode_composite(out, value)
    else:
        encode(out, value)


def _read_if_known(value: Any) -> Any:
    """A composite where its descriptor is one; any other described value as it is."""
    if not isinstance(value, Described):
        raise TypeError
    known = isinstance(value.descriptor, (int, str)) and value.descriptor in _BY_DESCRIPTOR
    return read_composite(value) if known else value


BOOLEAN = Kind(encode_boolean, _instance(bool))
UBYTE = Kind(encode_ubyte, _whole_number(0xFF))
USHORT = Kind(encode_ushort, _whole_number(0xFFFF))
UINT = Kind(encode_uint, _whole_number(0xFFFF_FFFF))
ULONG = Kind(encode_ulong, _whole_number(0xFFFF_FFFF_FFFF_FFFF))
STRING = Kind(encode_string, _plain_text)
SYMBOL = Kind(encode_symbol, _ascii)
SYMBOLS = Kind(_write_symbols, _read_symbols)
BINARY = Kind(encode_binary, _instance(bytes))
TIMESTAMP = Kind(_write_timestamp, _whole_number((1 << 63) - 1, -(1 << 63)))
MAP = Kind(encode, _instance(dict))
ANY = Kind(encode, lambda value: value)
#: A composite, or another described value.
DESCRIBED = Kind(_write_composite_or_other, _read_if_known)


def only(*classes: type) -> Kind:
    """A field that has one of these composites."""

    def read(value: Any) -> Any:
        found = _read_if_known(value)
        if not isinstance(found, classes):
            raise TypeError
        return found

    return Kind(encode_composite, read)
