"""One AMQP connection, as the endpoints use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dps_simulator.common.http import Peer
from dps_simulator.errors.table import ServiceError
from dps_simulator.protocols.amqp.errors import Condition
from dps_simulator.protocols.amqp.performatives import Error, SaslCode
from dps_simulator.protocols.amqp.types import Int, Symbol

#: How errors are called over AMQP, by their HTTP status. Source: the tables by which the SDKs for Node, C# and Java
#: tell conditions apart; they retry after the one for 429 and after internal errors. Which of them the real services
#: send for a status is inferred.
_CONDITIONS: Mapping[int, str] = {
    400: "com.microsoft:argument-error",
    401: Condition.UNAUTHORIZED_ACCESS,
    403: Condition.RESOURCE_LIMIT_EXCEEDED,
    404: Condition.NOT_FOUND,
    405: Condition.NOT_ALLOWED,
    409: "com.microsoft:device-already-exists",
    412: "com.microsoft:precondition-failed",
    413: Condition.MESSAGE_SIZE_EXCEEDED,
    429: "com.microsoft:device-container-throttled",
    501: Condition.NOT_IMPLEMENTED,
    504: "com.microsoft:timeout",
}


def amqp_error(error: ServiceError, description: str = "") -> Error:
    """An error answer as AMQP carries it.

    Arguments:
        error: the error.
        description: what the client is told, when it is not just the text.
    """
    told: dict[Any, Any] = {Symbol("com.microsoft:tracking-id"): error.tracking_id}
    if error.retry_after is not None:
        # both spellings are looked up
        told[Symbol("retry-after")] = told[Symbol("Retry-After")] = Int(error.retry_after)
    condition = _CONDITIONS.get(error.kind.status, Condition.INTERNAL_ERROR)
    return Error(condition=condition, description=description or str(error), info=told)


class AmqpLine(Protocol):
    """One AMQP connection, as an endpoint uses it; its links and deliveries have methods of their own.

    Implemented in ``server``.
    """

    @property
    def peer(self) -> Peer:
        """Who is connected, and over what."""

    def challenge(self, data: bytes) -> None:
        """Answer SASL with a question."""

    def approve(self) -> None:
        """Answer SASL: the client is who it says."""

    def deny(self, code: SaslCode = SaslCode.AUTHENTICATION_FAILED) -> None:
        """Answer SASL with a refusal, and close."""

    def accept(self, properties: Mapping[Any, Any] | None = None) -> None:
        """Answer OPEN."""

    def close(self, error: Error | None = None) -> None:
        """Send what is waiting, then close the connection; the error tells the client why."""

    def cut(self) -> None:
        """End the connection without a word."""
