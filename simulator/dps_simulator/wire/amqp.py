"""One AMQP connection, as the endpoints use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dps_simulator.common.http import Peer
from dps_simulator.protocols.amqp.performatives import Error, SaslCode


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
