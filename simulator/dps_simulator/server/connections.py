"""Every open connection of a server, from the accepted socket to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from dps_simulator.server.tls.context import AcceptingContext
from dps_simulator.server.tls.transport import TlsTransport

from .frontend import Frontend
from .http_adapter import HttpAdapter
from .newcomers import WEIGHT_BEFORE_GREETING, Newcomers
from .sniffer import Sniffer


class Connection:
    """One accepted socket.

    Arguments:
        table: where it is listed while it is open.
        transport: the plain transport.

    Attributes:
        host: the CONNECT target, empty for direct TLS.
    """

    def __init__(self, table: ConnectionTable, transport: asyncio.Transport) -> None:
        self._table = table
        self._transport = transport
        self._open = True
        self._told = False
        self.host = ""

    def start_tls(self) -> None:
        """Turn the plain connection into TLS and let the first byte behind it decide who serves it."""
        TlsTransport(self._transport, context=self._table.current_context(), owner=self, loop=self._table.loop)

    def touch(self) -> None:
        """Note that something happened on it."""
        self._table.last_activity = self._table.monotonic()

    def ended(self) -> None:
        """Strike it off the list; may be called more than once."""
        if self._open:
            self._open = False
            self._table.remove(self)

    def abort(self) -> None:
        """Drop it without further words."""
        self._told = True
        self._transport.abort()

    def give_up(self, reason: str) -> None:
        """Drop it before its handshake is over, for the sake of others."""
        self.handshake_failed(reason)
        self.abort()

    def refused(self, reason: str) -> None:
        """Tell the frontend that it ended before it carried a message."""
        self._table.frontend.connection_refused(self.host, reason)

    # --- what the TLS transport reports -----------------------------------------------------------------------------

    def weighs(self, size: int) -> None:
        """Until it is established it takes about so many bytes of memory."""
        if self._open:
            self._table.newcomers.weigh(self, size)

    def may_begin(self, begin: Callable[[], None]) -> bool:
        """Whether the handshake may begin now; else ``begin`` is called when it is this one's turn."""
        return self._table.newcomers.may_begin(self, begin)

    def established(self) -> Sniffer:
        """The handshake is over."""
        table = self._table
        table.newcomers.remove(self)
        return Sniffer(connection=self, frontend=table.frontend, http=table.http, loop=table.loop)

    def has_backlog(self, transport: TlsTransport) -> None:
        """Something waits in it."""
        if self._open:
            self._table.http.backlogs.note(transport, transport.backlog)

    def dropped(self, server_name: str, reason: str) -> None:
        """It has to go although nothing is wrong with it."""
        self._table.frontend.connection_refused(self.host or server_name, reason)

    def handshake_failed(self, reason: str) -> None:
        """The handshake is over without success."""
        if not self._told:
            self._told = True
            self.refused(f"the TLS handshake failed: {reason}")


class ConnectionTable:
    """The open connections, and what they share.

    Arguments:
        frontend: the simulator.
        context: TLS settings.
        http: serves HTTP and WebSocket.
        loop: the event loop.

    Attributes:
        newcomers: those that are not established yet.
        monotonic: the clock, in seconds.
        last_activity: when a connection last came, went or carried bytes, on that clock.
    """

    def __init__(
        self,
        *,
        frontend: Frontend,
        context: AcceptingContext,
        http: HttpAdapter,
        loop: asyncio.AbstractEventLoop,
        renewed: Callable[[], AcceptingContext | None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.frontend = frontend
        self._context = context
        self._renewed = renewed
        self.http = http
        self.loop = loop
        self.monotonic = monotonic
        self.newcomers = Newcomers(loop)
        self._open: set[Connection] = set()
        self._changed = asyncio.Event()
        self._closed = False
        self.last_activity = monotonic()

    def __len__(self) -> int:
        return len(self._open)

    def current_context(self) -> AcceptingContext:
        """The TLS settings for a connection that begins now."""
        self._context = self._renewed() or self._context
        return self._context

    def add(self, transport: asyncio.Transport) -> Connection:
        """List a connection that was just accepted."""
        connection = Connection(self, transport)
        self._open.add(connection)
        connection.weighs(WEIGHT_BEFORE_GREETING)
        self.touch()
        if self._closed:
            # it was accepted just before the port was closed
            transport.abort()
        return connection

    def remove(self, connection: Connection) -> None:
        """Strike a connection off."""
        self._open.discard(connection)
        self.newcomers.remove(connection)
        self._changed.set()
        self.touch()

    def touch(self) -> None:
        """Note that something happened."""
        self.last_activity = self.monotonic()

    def close(self) -> None:
        """Drop every connection, and every one that is still to come."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()

    async def wait_until_empty(self, timeout: float) -> bool:
        """Wait for the last connection to end; ``False`` when some are left after the time."""
        end = self.loop.time() + timeout
        while self._open:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), end - self.loop.time())
            except TimeoutError:
                return False
        return True
