"""Messages of AMQP 1.0: their sections.

Source: OASIS standard AMQP 1.0, part 3, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .composites import (
    ANY,
    BINARY,
    BOOLEAN,
    STRING,
    SYMBOL,
    TIMESTAMP,
    UBYTE,
    UINT,
    composite,
    encode_composite,
    optional,
    read_composite,
)
from .encoding import encode, encode_binary
from .errors import AmqpDecodeError
from .types import Described, Symbol, decode


@composite(0x70, "amqp:header:list")
class Header:
    """How a message is to be handled. ``ttl`` is in milliseconds."""

    durable: bool = optional(BOOLEAN, default=False)
    priority: int = optional(UBYTE, default=4)
    ttl: int | None = optional(UINT, default=None)
    first_acquirer: bool = optional(BOOLEAN, default=False)
    delivery_count: int = optional(UINT, default=0)


@composite(0x73, "amqp:properties:list")
class Properties:
    """What every kind of message has. Times are in milliseconds since 1970; an ID is text, number, UUID or bytes."""

    message_id: Any = optional(ANY, default=None)
    user_id: bytes | None = optional(BINARY, default=None)
    to: str | None = optional(STRING, default=None)
    subject: str | None = optional(STRING, default=None)
    reply_to: str | None = optional(STRING, default=None)
    correlation_id: Any = optional(ANY, default=None)
    content_type: str | None = optional(SYMBOL, default=None)
    content_encoding: str | None = optional(SYMBOL, default=None)
    absolute_expiry_time: int | None = optional(TIMESTAMP, default=None)
    creation_time: int | None = optional(TIMESTAMP, default=None)
    group_id: str | None = optional(STRING, default=None)
    group_sequence: int | None = optional(UINT, default=None)
    reply_to_group_id: str | None = optional(STRING, default=None)


@dataclass(slots=True, kw_only=True)
class Message:
    """One message.

    Attributes:
        header: how it is to be handled.
        delivery_annotations: for the next one who gets it.
        annotations: for all who get it.
        properties: what every kind of message has.
        application_properties: what this one has.
        data: bytes, where the body is made of them; ``None`` where it is a value.
        parts: the same, as the sections of the message that was read had them.
        value: the value, or a list of sequences.
    """

    header: Header | None = None
    delivery_annotations: Mapping[Any, Any] | None = None
    annotations: Mapping[Any, Any] | None = None
    properties: Properties = field(default_factory=Properties)
    application_properties: Mapping[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    parts: tuple[bytes, ...] = ()
    value: Any = None

    def __repr__(self) -> str:
        # what devices and services tell each other is theirs
        return f"Message({self.properties.message_id!r}, body=****)"

    def encoded(self) -> bytes:
        """The message as bytes."""
        out = bytearray()
        if self.header is not None:
            encode_composite(out, self.header)
        for code, given in ((0x71, self.delivery_annotations), (0x72, self.annotations)):
            if given:
                _put_section(out, code, {Symbol(name): value for name, value in given.items()})
        if self.properties != Properties():
            encode_composite(out, self.properties)
        if self.application_properties:
            _put_section(out, 0x74, dict(self.application_properties))
        if self.data is None:
            _put_section(out, 0x77, self.value)
        else:
            out += b"\x00\x53\x75"
            encode_binary(out, self.data)
        return bytes(out)


def _put_section(out: bytearray, code: int, value: Any) -> None:
    out += bytes((0, 0x53, code))
    encode(out, value)


_HEADER, _DELIVERY_ANNOTATIONS, _ANNOTATIONS, _PROPERTIES = 0x70, 0x71, 0x72, 0x73
_APPLICATION_PROPERTIES, _DATA, _SEQUENCE, _VALUE, _FOOTER = 0x74, 0x75, 0x76, 0x77, 0x78
_NAMES = {
    "amqp:header:list": _HEADER,
    "amqp:delivery-annotations:map": _DELIVERY_ANNOTATIONS,
    "amqp:message-annotations:map": _ANNOTATIONS,
    "amqp:properties:list": _PROPERTIES,
    "amqp:application-properties:map": _APPLICATION_PROPERTIES,
    "amqp:data:binary": _DATA,
    "amqp:amqp-sequence:list": _SEQUENCE,
    "amqp:amqp-value:*": _VALUE,
    "amqp:footer:map": _FOOTER,
}
_TYPES: Mapping[int, type] = {
    _DELIVERY_ANNOTATIONS: dict,
    _ANNOTATIONS: dict,
    _APPLICATION_PROPERTIES: dict,
    _DATA: bytes,
    _SEQUENCE: list,
    _FOOTER: dict,
}


def decode_message(data: bytes) -> Message:
    """Read a message.

    Several data sections are one body, as clients join them too.

    Raises:
        AmqpDecodeError: the bytes are no message.
        AmqpProtocolError: a field of a section is of another type.
    """
    message = Message()
    position, before = 0, 0
    parts: list[bytes] = []
    while position < len(data):
        section, position = decode(data, position)
        code = _code(section)
        if code < before or (code == before and code not in (_DATA, _SEQUENCE)):
            raise AmqpDecodeError(f"the section 0x{code:02x} of a message follows 0x{before:02x}")
        before = code
        value = section.value
        expected = _TYPES.get(code)
        if expected is not None and not isinstance(value, expected):
            raise AmqpDecodeError(f"the section 0x{code:02x} of a message is a {type(value).__name__}")
        if code == _HEADER:
            message.header = read_composite(section)
        elif code == _DELIVERY_ANNOTATIONS:
            message.delivery_annotations = value
        elif code == _ANNOTATIONS:
            message.annotations = value
        elif code == _PROPERTIES:
            message.properties = read_composite(section)
        elif code == _APPLICATION_PROPERTIES:
            message.application_properties = value
        elif code == _DATA:
            parts.append(value)
        elif code == _SEQUENCE:
            message.value = [*(message.value or ()), value]
        elif code == _VALUE:
            message.value = value
    if parts:
        message.parts = tuple(parts)
        message.data = b"".join(parts)
    return message


def _code(section: Any) -> int:
    if isinstance(section, Described):
        descriptor = section.descriptor
        code = _NAMES.get(descriptor) if isinstance(descriptor, str) else descriptor
        if isinstance(code, int) and _HEADER <= code <= _FOOTER:
            return int(code)
    raise AmqpDecodeError("a message is made of sections, and something else stands there")
