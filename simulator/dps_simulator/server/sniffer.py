"""The first byte behind TLS decides: MQTT, AMQP or HTTP."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, cast

from dps_simulator.common.http import Peer
from dps_simulator.server.tls.context import TlsSession
from dps_simulator.server.tls.transport import TlsTransport

from .amqp_line import AmqpConnectionLine
from .frontend import Frontend
from .http_adapter import HttpAdapter, HttpProtocol
from .mqtt_link import MqttConnection

if TYPE_CHECKING:
    from .connections import Connection

_LOGGER = logging.getLogger(__name__)

#: First byte of an MQTT CONNECT packet; no HTTP method begins with it.
MQTT_CONNECT = 0x10
#: First byte of an AMQP connection; no HTTP method that anybody uses begins with this letter.
AMQP = ord("A")
#: Seconds for the first byte, and for the whole head of the first HTTP request.
FIRST_REQUEST_TIMEOUT = 20.0
#: Bytes that may wait for a client that does not read. Above, the connection is dropped.
MAX_UNSENT = 4 * 1_048_576
#: What a presented chain takes, as a multiple of its size: here, and parsed in OpenSSL. Measured: 3 to 5.7.
CHAIN_WEIGHT = 6


class Sniffer(asyncio.Protocol):
    """One TLS connection.

    It stays the transport's protocol and passes on what it hears, so that the end of the connection is noticed here
    whoever serves it.

    Arguments:
        connection: the connection's entry in the server's list.
        frontend: the simulator.
        http: serves HTTP and WebSocket.
        loop: the event loop.
    """

    def __init__(
        self, *, connection: Connection, frontend: Frontend, http: HttpAdapter, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._connection = connection
        self._frontend = frontend
        self._http = http
        self._loop = loop
        self._transport: TlsTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._host = ""
        self._certificates: tuple[bytes, ...] = ()
        self._line: MqttConnection | AmqpConnectionLine | None = None
        self._web: HttpProtocol | None = None
        self._closing = False
        self._lost = False

    # --- called by asyncio ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self._transport = cast(TlsTransport, transport)
        session = cast(TlsSession, self._transport.session)
        self._host = self._connection.host or session.server_name
        self._certificates = session.presented_chain()
        self._http.kept.add(self._transport, CHAIN_WEIGHT * sum(map(len, self._certificates)))
        self._timer = self._loop.call_later(FIRST_REQUEST_TIMEOUT, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closing:
            return
        self._connection.touch()
        if self._line is None and self._web is None:
            self._choose(data[0])
        if self._line is not None:
            self._line.receive(data)
        elif self._web is not None:
            self._web.data_received(data)

    def eof_received(self) -> None:
        """The client says nothing more; asyncio closes the TLS connection then."""
        if self._web is not None:
            self._web.eof_received()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        if self._web is not None:
            self._web.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._web is not None:
            self._web.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self._line is not None:
            self._line.lost()
        if self._web is not None:
            self._web.connection_lost(exc)
        self._http.forget(cast(TlsTransport, self._transport))

    # --- serving --------------------------------------------------------------------------------------------------

    def _choose(self, first: int) -> None:
        """Hand the connection to MQTT, AMQP or HTTP."""
        transport = cast(TlsTransport, self._transport)
        if first in (MQTT_CONNECT, AMQP) and self._timer is not None:
            # these have a deadline of their own
            self._timer.cancel()
            self._timer = None
        if first == MQTT_CONNECT:
            self._line = MqttConnection(
                peer=Peer(self._host, "mqtt", self._certificates),
                write=self._write,
                close_transport=self._close,
                choose=self._frontend.mqtt,
                arriving=partial(self._http.arriving.note, transport),
                keeps=partial(self._http.kept.add, transport),
                loop=self._loop,
            )
        elif first == AMQP:
            self._line = AmqpConnectionLine(
                peer=Peer(self._host, "amqp", self._certificates),
                write=self._write,
                close_transport=self._close,
                choose=self._frontend.amqp,
                arriving=partial(self._http.arriving.note, transport),
                keeps=partial(self._http.kept.add, transport),
                loop=self._loop,
            )
        else:
            self._web = self._http.protocol(self._host, self._certificates)
            self._web.connection_made(transport)

    def _write(self, data: bytes) -> None:
        """Send bytes of MQTT or AMQP, unless the client lets too many pile up."""
        if self._lost or self._closing or self._transport is None:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            _LOGGER.info("a client of %s does not read; dropping its connection", self._host or "an unnamed host")
            self._closing = True
            self._transport.abort()

    def _close(self) -> None:
        """Send what is waiting, then close."""
        if self._lost or self._closing or self._transport is None:
            return
        self._closing = True
        if isinstance(self._line, MqttConnection) and self._line.ended_cleanly:
            # a close_notify after DISCONNECT would reach nobody
            self._transport.abort()
            return
        self._transport.close()

    def _too_slow(self) -> None:
        self._timer = None
        if self._web is not None and self._web.has_begun:
            return
        what = "nothing" if self._web is None else "no complete HTTP request"
        self._connection.refused(f"{what} came within {FIRST_REQUEST_TIMEOUT:g} seconds after the TLS handshake")
        self._close()
