"""What frames of AMQP 1.0 say.

Source: OASIS standard AMQP 1.0, part 2, section 2.7 (transport), part 3, sections 3.4 and 3.5 (outcomes, source and
target), part 5, section 5.3.3 (SASL).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Union

from .composites import (
    ANY,
    BINARY,
    BOOLEAN,
    DESCRIBED,
    MAP,
    STRING,
    SYMBOL,
    SYMBOLS,
    UBYTE,
    UINT,
    ULONG,
    USHORT,
    composite,
    mandatory,
    only,
    optional,
)

#: Roles of a link's end in attach, flow and disposition.
SENDER, RECEIVER = False, True


class SaslCode(IntEnum):
    """Outcomes of SASL."""

    OK = 0
    AUTHENTICATION_FAILED = 1
    SYSTEM_ERROR = 2
    SYSTEM_ERROR_PERMANENT = 3
    SYSTEM_ERROR_TEMPORARY = 4


class SenderSettles(IntEnum):
    """When the sender of a link settles."""

    UNSETTLED = 0
    SETTLED = 1
    MIXED = 2


@composite(0x1D, "amqp:error:list")
class Error:
    """Why something was refused or ended."""

    condition: str = mandatory(SYMBOL)
    description: str | None = optional(STRING, default=None)
    info: dict[Any, Any] | None = optional(MAP, default=None)


ERROR = only(Error)


# --- outcomes of deliveries -------------------------------------------------------------------------------------------


@composite(0x23, "amqp:received:list")
class Received:
    """How much of a delivery has come; no outcome yet."""

    section_number: int = mandatory(UINT)
    section_offset: int = mandatory(ULONG)


@composite(0x24, "amqp:accepted:list")
class Accepted:
    """Taken over."""


@composite(0x25, "amqp:rejected:list")
class Rejected:
    """Invalid."""

    error: Error | None = optional(ERROR, default=None)


@composite(0x26, "amqp:released:list")
class Released:
    """Not looked at; can be delivered again."""


@composite(0x27, "amqp:modified:list")
class Modified:
    """Not taken over, with a remark for whoever delivers it again."""

    delivery_failed: bool = optional(BOOLEAN, default=False)
    undeliverable_here: bool = optional(BOOLEAN, default=False)
    message_annotations: dict[Any, Any] | None = optional(MAP, default=None)


Outcome = Union[Accepted, Rejected, Released, Modified]  # noqa: UP007
"""How a delivery can end."""
STATE = only(Received, Accepted, Rejected, Released, Modified)


# --- ends of links ----------------------------------------------------------------------------------------------------


@composite(0x28, "amqp:source:list")
class Source:
    """Where the messages of a link come from."""

    address: Any = optional(ANY, default=None)
    durable: int = optional(UINT, default=0)
    expiry_policy: str = optional(SYMBOL, default="session-end")
    timeout: int = optional(UINT, default=0)
    dynamic: bool = optional(BOOLEAN, default=False)
    dynamic_node_properties: dict[Any, Any] | None = optional(MAP, default=None)
    distribution_mode: str | None = optional(SYMBOL, default=None)
    filter: dict[Any, Any] | None = optional(MAP, default=None)
    default_outcome: Any = optional(DESCRIBED, default=None)
    outcomes: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)


@composite(0x29, "amqp:target:list")
class Target:
    """Where the messages of a link go."""

    address: Any = optional(ANY, default=None)
    durable: int = optional(UINT, default=0)
    expiry_policy: str = optional(SYMBOL, default="session-end")
    timeout: int = optional(UINT, default=0)
    dynamic: bool = optional(BOOLEAN, default=False)
    dynamic_node_properties: dict[Any, Any] | None = optional(MAP, default=None)
    capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)


# --- transport --------------------------------------------------------------------------------------------------------


@composite(0x10, "amqp:open:list")
class Open:
    """Begins a connection. ``idle_time_out`` is in milliseconds."""

    container_id: str = mandatory(STRING)
    hostname: str | None = optional(STRING, default=None)
    max_frame_size: int = optional(UINT, default=0xFFFF_FFFF)
    channel_max: int = optional(USHORT, default=0xFFFF)
    idle_time_out: int | None = optional(UINT, default=None)
    outgoing_locales: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    incoming_locales: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    offered_capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    desired_capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    properties: dict[Any, Any] | None = optional(MAP, default=None)


@composite(0x11, "amqp:begin:list")
class Begin:
    """Begins a session."""

    remote_channel: int | None = optional(USHORT, default=None)
    next_outgoing_id: int = mandatory(UINT)
    incoming_window: int = mandatory(UINT)
    outgoing_window: int = mandatory(UINT)
    handle_max: int = optional(UINT, default=0xFFFF_FFFF)
    offered_capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    desired_capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    properties: dict[Any, Any] | None = optional(MAP, default=None)


@composite(0x12, "amqp:attach:list")
class Attach:
    """Attaches a link to a session."""

    name: str = mandatory(STRING)
    handle: int = mandatory(UINT)
    role: bool = mandatory(BOOLEAN)
    snd_settle_mode: int = optional(UBYTE, default=SenderSettles.MIXED)
    rcv_settle_mode: int = optional(UBYTE, default=0)
    source: Any = optional(DESCRIBED, default=None)
    target: Any = optional(DESCRIBED, default=None)
    unsettled: dict[Any, Any] | None = optional(MAP, default=None)
    incomplete_unsettled: bool = optional(BOOLEAN, default=False)
    initial_delivery_count: int | None = optional(UINT, default=None)
    max_message_size: int | None = optional(ULONG, default=None)
    offered_capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    desired_capabilities: tuple[str, ...] | None = optional(SYMBOLS, default=None)
    properties: dict[Any, Any] | None = optional(MAP, default=None)


@composite(0x13, "amqp:flow:list")
class Flow:
    """How much a session or a link may send."""

    next_incoming_id: int | None = optional(UINT, default=None)
    incoming_window: int = mandatory(UINT)
    next_outgoing_id: int = mandatory(UINT)
    outgoing_window: int = mandatory(UINT)
    handle: int | None = optional(UINT, default=None)
    delivery_count: int | None = optional(UINT, default=None)
    link_credit: int | None = optional(UINT, default=None)
    available: int | None = optional(UINT, default=None)
    drain: bool = optional(BOOLEAN, default=False)
    echo: bool = optional(BOOLEAN, default=False)
    properties: dict[Any, Any] | None = optional(MAP, default=None)


@composite(0x14, "amqp:transfer:list")
class Transfer:
    """A message, or a part of one. What it carries follows in the frame."""

    handle: int = mandatory(UINT)
    delivery_id: int | None = optional(UINT, default=None)
    delivery_tag: bytes | None = optional(BINARY, default=None)
    message_format: int | None = optional(UINT, default=None)
    settled: bool | None = optional(BOOLEAN, default=None)
    more: bool = optional(BOOLEAN, default=False)
    rcv_settle_mode: int | None = optional(UBYTE, default=None)
    state: Any = optional(STATE, default=None)
    resume: bool = optional(BOOLEAN, default=False)
    aborted: bool = optional(BOOLEAN, default=False)
    batchable: bool = optional(BOOLEAN, default=False)


@composite(0x15, "amqp:disposition:list")
class Disposition:
    """What became of deliveries."""

    role: bool = mandatory(BOOLEAN)
    first: int = mandatory(UINT)
    last: int | None = optional(UINT, default=None)
    settled: bool = optional(BOOLEAN, default=False)
    state: Any = optional(STATE, default=None)
    batchable: bool = optional(BOOLEAN, default=False)


@composite(0x16, "amqp:detach:list")
class Detach:
    """Detaches a link."""

    handle: int = mandatory(UINT)
    closed: bool = optional(BOOLEAN, default=False)
    error: Error | None = optional(ERROR, default=None)


@composite(0x17, "amqp:end:list")
class End:
    """Ends a session."""

    error: Error | None = optional(ERROR, default=None)


@composite(0x18, "amqp:close:list")
class Close:
    """Ends a connection."""

    error: Error | None = optional(ERROR, default=None)


# --- SASL -------------------------------------------------------------------------------------------------------------


@composite(0x40, "amqp:sasl-mechanisms:list")
class SaslMechanisms:
    """Ways in which a client can prove who it is."""

    sasl_server_mechanisms: tuple[str, ...] = mandatory(SYMBOLS)


@composite(0x41, "amqp:sasl-init:list")
class SaslInit:
    """The client chooses a mechanism."""

    mechanism: str = mandatory(SYMBOL)
    initial_response: bytes | None = optional(BINARY, default=None)
    hostname: str | None = optional(STRING, default=None)

    def __repr__(self) -> str:
        # the response holds a password
        return f"SaslInit(mechanism={self.mechanism!r}, hostname={self.hostname!r})"


@composite(0x42, "amqp:sasl-challenge:list")
class SaslChallenge:
    """The server asks."""

    challenge: bytes = mandatory(BINARY)

    def __repr__(self) -> str:
        return f"SaslChallenge({len(self.challenge)} bytes)"


@composite(0x43, "amqp:sasl-response:list")
class SaslResponse:
    """The client answers."""

    response: bytes = mandatory(BINARY)

    def __repr__(self) -> str:
        return f"SaslResponse({len(self.response)} bytes)"


@composite(0x44, "amqp:sasl-outcome:list")
class SaslOutcome:
    """The server has judged."""

    code: int = mandatory(UBYTE)
    additional_data: bytes | None = optional(BINARY, default=None)

    def __repr__(self) -> str:
        return f"SaslOutcome(code={self.code})"
