"""What can be wrong about AMQP, in the protocol's own names.

Source: OASIS standard AMQP 1.0, part 2 (transport), section 2.8.14 to 2.8.18.
"""

from __future__ import annotations

from enum import StrEnum


class Condition(StrEnum):
    """Symbolic names of what went wrong, as they travel in close, end, detach and rejected."""

    # amqp-error
    INTERNAL_ERROR = "amqp:internal-error"
    NOT_FOUND = "amqp:not-found"
    UNAUTHORIZED_ACCESS = "amqp:unauthorized-access"
    DECODE_ERROR = "amqp:decode-error"
    RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded"
    NOT_ALLOWED = "amqp:not-allowed"
    INVALID_FIELD = "amqp:invalid-field"
    NOT_IMPLEMENTED = "amqp:not-implemented"
    RESOURCE_LOCKED = "amqp:resource-locked"
    PRECONDITION_FAILED = "amqp:precondition-failed"
    RESOURCE_DELETED = "amqp:resource-deleted"
    ILLEGAL_STATE = "amqp:illegal-state"
    FRAME_SIZE_TOO_SMALL = "amqp:frame-size-too-small"
    # connection-error
    CONNECTION_FORCED = "amqp:connection:forced"
    FRAMING_ERROR = "amqp:connection:framing-error"
    # session-error
    WINDOW_VIOLATION = "amqp:session:window-violation"
    ERRANT_LINK = "amqp:session:errant-link"
    HANDLE_IN_USE = "amqp:session:handle-in-use"
    UNATTACHED_HANDLE = "amqp:session:unattached-handle"
    # link-error
    DETACH_FORCED = "amqp:link:detach-forced"
    TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded"
    MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded"
    STOLEN = "amqp:link:stolen"


class AmqpProtocolError(Exception):
    """The peer broke AMQP 1.0; the text says what was wrong with which value. The connection is to be closed.

    Arguments:
        text: what was wrong.
        condition: the name that the peer is told.
    """

    def __init__(self, text: str, condition: Condition = Condition.FRAMING_ERROR) -> None:
        super().__init__(text)
        self.condition = condition


class AmqpDecodeError(AmqpProtocolError):
    """Bytes are no value, or not of the type that belongs there."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Condition.DECODE_ERROR)


class AmqpStateError(Exception):
    """The connection's user asked for a step that its state does not allow, e.g. to send on a link that is gone."""
