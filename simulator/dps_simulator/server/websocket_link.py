"""MQTT and AMQP in a WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from aiohttp import WSMsgType, web

from dps_simulator.common.http import Peer
from dps_simulator.server.tls.transport import TlsTransport

from .accounts import Account
from .amqp_line import AmqpConnectionLine
from .frontend import Frontend
from .mqtt_link import MqttConnection

_LOGGER = logging.getLogger(__name__)

#: Bytes that may wait for a WebSocket client that does not read. Above, the connection is dropped.
MAX_UNSENT = 4 * 1_048_576
#: Seconds for a client to answer the close of a WebSocket.
CLOSE_TIMEOUT = 5.0
#: How MQTT in a WebSocket is called.
MQTT_TRANSPORT = "websocket"
#: What a WebSocket can carry, by the subprotocol in lower case, and how that is called. Source: the SDKs.
TRANSPORTS: Mapping[str, str] = {"mqtt": MQTT_TRANSPORT, "amqpwsb10": "amqp-websocket"}


class WebSocketLink:
    """Carries MQTT or AMQP between a WebSocket and the connection that serves it.

    The connection writes without waiting and aiohttp sends with waiting, so a task stands in between.

    Arguments:
        socket: the WebSocket, which is open.
        peer: who is connected; its transport, one of the values of :data:`TRANSPORTS`, says what is carried.
        transport: what carries the WebSocket, ``None`` when that is gone already.
        frontend: the simulator.
        arriving: is told how many bytes there are of what waits for its rest.
        kept: the account of what connections take to stay for a while.
        loop: the event loop.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        peer: Peer,
        transport: TlsTransport | None,
        frontend: Frontend,
        *,
        arriving: Callable[[int], object],
        kept: Account,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._closing = False
        self._wake = asyncio.Event()
        self._kept = kept
        self._line: MqttConnection | AmqpConnectionLine
        if peer.transport == MQTT_TRANSPORT:
            self._line = MqttConnection(
                peer=peer,
                write=self._write,
                close_transport=self._close,
                choose=frontend.mqtt,
                arriving=arriving,
                keeps=self._keep,
                loop=loop,
            )
        else:
            self._line = AmqpConnectionLine(
                peer=peer,
                write=self._write,
                close_transport=self._close,
                choose=frontend.amqp,
                arriving=arriving,
                keeps=self._keep,
                loop=loop,
            )

    async def serve(self) -> None:
        """Carry until one side has enough."""
        sender = asyncio.ensure_future(self._send())
        try:
            async for message in self._socket:
                if message.type is WSMsgType.ERROR:
                    # aiohttp has closed it already, and said why to the client
                    self._line.broken(f"the WebSocket broke its protocol: {message.data}")
                    break
                if message.type is not WSMsgType.BINARY:
                    # MQTT 3.1.1, 6.0: anything but binary frames ends the connection; AMQP has the same rule
                    await self._socket.close(code=1003, message=b"MQTT and AMQP need binary frames")
                    break
                if not self._closing:
                    self._line.receive(message.data)
        finally:
            self._line.lost()
            try:
                if self._closing:
                    # it is sending the last bytes and the close
                    await asyncio.wait({sender}, timeout=CLOSE_TIMEOUT)
            finally:
                sender.cancel()

    def _write(self, data: bytes) -> None:
        if self._closing:
            return
        self._unsent.append(data)
        self._set_unsent(self._unsent_size + len(data))
        self._wake.set()
        if self._unsent_size > MAX_UNSENT:
            _LOGGER.info("a WebSocket client does not read; dropping its connection")
            self._closing = True
            if self._transport is not None:
                self._transport.abort()

    def _set_unsent(self, size: int) -> None:
        self._unsent_size = size
        if self._transport is not None:
            self._transport.waiting_above = size
            self._transport.look_at_backlog()

    def _keep(self, more: int) -> None:
        """Take down what a will takes, or sessions and links."""
        if self._transport is not None and not self._transport.is_closing():
            self._kept.add(self._transport, more)

    def _close(self) -> None:
        self._closing = True
        self._wake.set()

    async def _send(self) -> None:
        """Send what was written; after the last of it, close when asked to."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._unsent:
                    data = b"".join(self._unsent)
                    self._unsent.clear()
                    await self._socket.send_bytes(data)
                    self._set_unsent(self._unsent_size - len(data))
                if self._closing:
                    # the receiving side is told by the client's answer to the close, or by its silence
                    await self._socket.close()
                    return
        except ConnectionError:
            # lost; the receiving side notices as well
            return
