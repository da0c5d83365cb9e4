"""What the sockets ask of the simulator behind them.

Everything in ``server`` knows only this interface; the simulator implements it and hands itself to
:class:`~dps_simulator.server.listeners.Server`.
"""

from __future__ import annotations

from typing import Protocol

from dps_simulator.common.http import Request, Response
from dps_simulator.protocols.amqp.application import AmqpApplication
from dps_simulator.protocols.mqtt import Connect
from dps_simulator.protocols.mqtt_application import MqttApplication

from .amqp_line import AmqpConnectionLine
from .mqtt_link import MqttConnection


class Frontend(Protocol):
    """The simulator, as its sockets see it. Every method runs on the event loop."""

    def is_known_host(self, host: str) -> bool:
        """Whether the CONNECT proxy may open a tunnel to this host name (lower case, without a port)."""

    async def http(self, request: Request) -> Response:
        """Answer one HTTP request. Never raises."""

    def mqtt(self, link: MqttConnection, connect: Connect) -> MqttApplication | None:
        """The application that serves a connection, chosen by its peer and CONNECT packet; ``None`` refuses it."""

    def amqp(self, line: AmqpConnectionLine, hostname: str) -> AmqpApplication | None:
        """The application that serves an AMQP connection, chosen by its peer.

        Arguments:
            line: the connection.
            hostname: the name that the client has told within the protocol, empty when it has not yet; counts where the
                peer has no name of its own.
        """

    def connection_refused(self, host: str, reason: str) -> None:
        """A connection ended before it carried a message, or for the sake of others; for the trace.

        Arguments:
            host: the CONNECT target or TLS server name, empty when the client never told.
            reason: what was wrong, e.g. ``the TLS handshake failed: http request``. Holds no secret.
        """
