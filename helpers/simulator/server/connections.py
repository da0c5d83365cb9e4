"""Every open connection of a server, from the accepted socket to its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from .frontend import Frontend
from .http_adapter import HttpAdapter
from .sniffer import Sniffer
from .tls import AcceptingContext, trim_buffer

_LOGGER = logging.getLogger(__name__)

#: Seconds for the TLS handshake.
HANDSHAKE_TIMEOUT = 20.0

#: What OpenSSL says about a failed handshake, and what it means here.
_HINTS = {
    "http request": "plain HTTP was sent to the TLS port; use https",
    "https proxy request": "a CONNECT request was sent to the TLS port; use the proxy port",
    "wrong version number": "the first bytes were not TLS; the client has to switch TLS on",
    "packet length too long": "the first bytes were not TLS; the client has to switch TLS on",
    "record layer failure": "the first bytes were not TLS; the client has to switch TLS on",
    "unsupported protocol": "the client knows no TLS version from 1.2 on",
    "unknown ca": "the client does not trust the simulator's certificate authority",
    "bad certificate": "the client does not accept the simulator's certificate",
    "certificate unknown": "the client does not accept the simulator's certificate",
    "bad signature": "the client does not hold the key of its certificate",
}


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
        self._upgrade: asyncio.Task[None] | None = None
        self._open = True
        self.host = ""

    def start_tls(self) -> None:
        """Soon turn the plain connection into TLS and let the first byte decide who serves it."""
        self._upgrade = self._table.run(self._start_tls())

    def touch(self) -> None:
        """Note that something happened on it."""
        self._table.touch()

    def ended(self) -> None:
        """Strike it off the list; may be called more than once."""
        if self._open:
            self._open = False
            self._table.remove(self)

    def lost(self) -> None:
        """The plain transport is gone before TLS took it over."""
        if self._upgrade is not None:
            self._upgrade.cancel()
        self.ended()

    def abort(self) -> None:
        """Drop it without further words."""
        if self._upgrade is not None:
            self._upgrade.cancel()
        self._transport.abort()

    @property
    def unsent(self) -> int:
        """Bytes below TLS that the system has not taken yet."""
        return self._transport.get_write_buffer_size()

    def refused(self, reason: str) -> None:
        """Tell the frontend that it ended before it carried a message."""
        self._table.frontend.connection_refused(self.host, reason)

    async def _start_tls(self) -> None:
        table = self._table
        if self._transport.is_closing():
            return  # the plain protocol is about to hear of it; a handshake begun now would never end
        # no plain byte may be read from here on; asyncio's start_tls resumes reading
        self._transport.pause_reading()
        sniffer = Sniffer(connection=self, frontend=table.frontend, http=table.http, loop=table.loop)
        try:
            transport = await table.loop.start_tls(
                self._transport, sniffer, table.context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
            )
        except (OSError, asyncio.CancelledError) as error:
            self._transport.abort()
            self.ended()
            if isinstance(error, asyncio.CancelledError):
                raise
            self.refused(f"the TLS handshake failed: {_explain(error)}")
            return
        except Exception:
            _LOGGER.exception("a TLS handshake failed")
            self._transport.abort()
            self.ended()
            return
        if transport is None:
            # asyncio returns nothing when the connection is lost in the very step that ends the handshake
            self._transport.abort()
            self.ended()
            return
        trim_buffer(transport)
        # start_tls does not call this itself
        sniffer.connection_made(transport)


def _explain(error: OSError) -> str:
    """Words for a failed handshake."""
    text = str(error.args[1] if len(error.args) > 1 else error).lower()
    if isinstance(error, ConnectionAbortedError):
        return f"it took longer than {HANDSHAKE_TIMEOUT:g} seconds"
    if isinstance(error, ConnectionError) or "without close_notify" in text:
        return "the client went away; perhaps it does not trust the simulator's certificate authority"
    hint = next((hint for words, hint in _HINTS.items() if words in text), "")
    return f"{text} ({hint})" if hint else text


class ConnectionTable:
    """The open connections, and what they share.

    Arguments:
        frontend: the simulator.
        context: TLS settings.
        http: serves HTTP and WebSocket.
        loop: the event loop.

    Attributes:
        last_activity: when a connection last came, went or carried bytes, on the monotonic clock.
    """

    def __init__(
        self,
        *,
        frontend: Frontend,
        context: AcceptingContext,
        http: HttpAdapter,
        loop: asyncio.AbstractEventLoop,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.frontend = frontend
        self.context = context
        self.http = http
        self.loop = loop
        self._monotonic = monotonic
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._closed = False
        self.last_activity = monotonic()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, transport: asyncio.Transport) -> Connection:
        """List a connection that was just accepted."""
        connection = Connection(self, transport)
        self._open.add(connection)
        self.touch()
        if self._closed:
            # it was accepted just before the port was closed
            transport.abort()
        return connection

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that :meth:`wait_until_empty` waits for."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def remove(self, connection: Connection) -> None:
        """Strike a connection off."""
        self._open.discard(connection)
        self._changed.set()
        self.touch()

    def touch(self) -> None:
        """Note that something happened."""
        self.last_activity = self._monotonic()

    def close(self) -> None:
        """Drop every connection, and every one that is still to come."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()

    async def wait_until_empty(self, timeout: float) -> bool:
        """Wait for the last connection to end; ``False`` when some are left after the time."""
        end = self.loop.time() + timeout
        while self._open or self._tasks:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), end - self.loop.time())
            except TimeoutError:
                return False
        return True

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
