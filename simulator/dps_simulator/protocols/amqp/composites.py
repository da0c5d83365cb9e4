"""Lists whose items have names: what stands in frames and messages of AMQP.

A composite is a class with a line per field, in the order of the standard::

    @composite(0x18, "amqp:close:list")
    class Close:
        error: Error | None = optional(ERROR)

Source: OASIS standard AMQP 1.0, part 1, section 1.4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
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
from .types import Array, Described, Symbol, Timestamp

_Made = TypeVar("_Made")
_KIND, _DEFAULT, _MANDATORY = "kind", "default", "mandatory"


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


class _Field(NamedTuple):
    name: str
    kind: Kind
    default: Any
    mandatory: bool


class _Layout(NamedTuple):
    kind: Callable[..., Any]
    head: bytes
    fields: tuple[_Field, ...]


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
        fields = tuple(
            _Field(each.name, each.metadata[_KIND], each.metadata.get(_DEFAULT), _MANDATORY in each.metadata)
            for each in dataclasses.fields(made)  # type: ignore[arg-type]
        )
        layout = _Layout(made, bytes((0, 0x53, code)), fields)
        _BY_CLASS[made] = _BY_DESCRIPTOR[code] = _BY_DESCRIPTOR[Symbol(name)] = layout
        return made

    return make


def encode_composite(out: bytearray, value: Composite) -> None:
    """Append a composite; fields at the end that say nothing are left out."""
    layout = _BY_CLASS[type(value)]
    body = bytearray()
    count = written = 0
    for name, kind, default, must in layout.fields:
        count += 1
        item = getattr(value, name)
        if item is None or (not must and item == default):
            continue
        if count - written > 1:
            body += b"\x40" * (count - written - 1)
        kind.write(body, item)
        written = count
    out += layout.head
    put_list(out, body, written)


def read_composite(value: Any) -> Any:
    """Make a composite of a value that was decoded.

    Raises:
        AmqpDecodeError: it is none that the standard has.
        AmqpProtocolError: a field is missing, or of another type.
    """
    if not isinstance(value, Described):
        raise AmqpDecodeError(f"a described list should stand here, not a value of {type(value).__name__}")
    descriptor, items = value
    layout = _BY_DESCRIPTOR.get(descriptor) if isinstance(descriptor, (int, str)) else None
    if layout is None:
        raise AmqpDecodeError(f"{descriptor!r:.80} is the descriptor of nothing that is known here")
    name = getattr(layout.kind, "__name__", "")
    if not isinstance(items, list) or len(items) > len(layout.fields):
        raise AmqpDecodeError(f"{name} is not a list of at most {len(layout.fields)} fields")
    fields: dict[str, Any] = {}
    for field, item in zip(layout.fields, items, strict=False):
        if item is not None:
            try:
                fields[field.name] = field.kind.read(item)
            except (TypeError, ValueError) as error:
                raise AmqpProtocolError(
                    f"{field.name.replace('_', '-')} of {name} is a value of {type(item).__name__}, which does not fit",
                    Condition.INVALID_FIELD,
                ) from error
    for field in layout.fields:
        if field.mandatory and field.name not in fields:
            raise AmqpProtocolError(f"{field.name.replace('_', '-')} of {name} is missing", Condition.INVALID_FIELD)
    return layout.kind(**fields)


# --- types of fields --------------------------------------------------------------------------------------------------


def _whole_number(limit: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
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


def _read_symbols(value: Any) -> tuple[str, ...]:
    """Several symbols are an array; a single one may stand for itself."""
    items = value.items if isinstance(value, Array) else (value,)
    return tuple(map(_plain_text, items))


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
SYMBOL = Kind(encode_symbol, _plain_text)
SYMBOLS = Kind(_write_symbols, _read_symbols)
BINARY = Kind(encode_binary, _instance(bytes))
TIMESTAMP = Kind(_write_timestamp, _instance(int))
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
