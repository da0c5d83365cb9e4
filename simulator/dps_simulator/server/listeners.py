"""The listening sockets of one simulator."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import math
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from dps_simulator.server.tls.context import AcceptingContext

from .accepting import AcceptingSocket
from .connections import ConnectionTable
from .frontend import Frontend
from .http_adapter import HttpAdapter
from .proxy import ConnectProxy, refusal

_LOGGER = logging.getLogger(__name__)

#: Ports of MQTT over TLS, and of HTTPS and MQTT over WebSocket, that SDKs have built in.
STANDARD_PORTS = (8883, 5671, 443)
#: Connections that the system may hold for us while the loop is busy.
BACKLOG = 512
#: What a client is told that there is no room for.
_FULL = (
    "The simulator has as many connections as its process may have files open; "
    "end some, or start it with a higher limit (ulimit -n)."
)
#: Seconds between two entries in the trace, and in the log, that clients were turned away.
_TRACE_PAUSE = 1.0
_LOG_PAUSE = 60.0
#: Seconds for connections to end when the server stops.
STOP_TIMEOUT = 2.0


class ListenError(Exception):
    """The server cannot listen; the text says why and what to do."""


class DirectTls(asyncio.Protocol):
    """One connection to a TLS port, which turns into TLS at once.

    Arguments:
        table: the server's connections.
    """

    def __init__(self, table: ConnectionTable) -> None:
        self._table = table

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came; the handshake begins."""
        self._table.add(cast(asyncio.Transport, transport)).start_tls()


class Server:
    """All sockets of one simulator. Lives on the event loop that runs :meth:`start`.

    Arguments:
        frontend: the simulator that answers.
        certificate_file: PEM with the server certificate and its issuers, leaf first.
        key_file: PEM with its private key.
        bind: IP address to listen on; a loopback address unless ``allow_remote``.
        proxy_port: port of the CONNECT proxy, 0 for any free one. After :meth:`start`, the real one.
        tls_port: port for direct TLS, 0 for any free one. After :meth:`start`, the real one.
        standard_ports: also listen on 8883, 5671 and 443.
        allow_remote: permits other machines to connect.
        renew: called before each TLS connection; whether the files hold another certificate now.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        certificate_file: Path,
        key_file: Path,
        bind: str = "127.0.0.1",
        proxy_port: int = 0,
        tls_port: int = 0,
        standard_ports: bool = False,
        allow_remote: bool = False,
        renew: Callable[[], bool] = lambda: False,
    ) -> None:
        self._frontend = frontend
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._bind = bind
        self._standard_ports = standard_ports
        self._allow_remote = allow_remote
        self._renew = renew
        # whether the files hold another certificate than the one that is shown
        self._outdated = False
        self.proxy_port = proxy_port
        self.tls_port = tls_port
        self._listeners: list[asyncio.Server] = []
        self._table: ConnectionTable | None = None
        self._http: HttpAdapter | None = None
        self._created = time.monotonic()
        self._away = 0
        self._traced = self._logged = -math.inf

    @property
    def open_connections(self) -> int:
        """Connections that are open now, in any state."""
        return 0 if self._table is None else len(self._table)

    @property
    def last_activity(self) -> float:
        """When a connection last came, went or carried bytes, on the clock of ``time.monotonic``."""
        return self._created if self._table is None else self._table.last_activity

    def touch(self) -> None:
        """Let the time in which nobody calls begin anew."""
        if self._table is not None:
            self._table.touch()

    async def start(self) -> None:
        """Open all ports, or none.

        Raises:
            ListenError: the address, a port, the certificate or its key cannot be used.
        """
        address = self._address()
        try:
            context = AcceptingContext(self._certificate_file, self._key_file)
        except ssl.SSLError as error:
            raise ListenError(f"TLS cannot be set up: {error.args[-1]}. Check the two PEM files.") from error
        loop = asyncio.get_running_loop()
        self._http = HttpAdapter(self._frontend, loop)
        table = ConnectionTable(
            frontend=self._frontend, context=context, http=self._http, loop=loop, renewed=self._renewed
        )
        self._table = table
        try:
            self.proxy_port = await self._listen(lambda: ConnectProxy(table), address, self.proxy_port, "proxy")
            self.tls_port = await self._listen(lambda: DirectTls(table), address, self.tls_port, "TLS")
            if self._standard_ports:
                for port in STANDARD_PORTS:
                    if port not in {self.proxy_port, self.tls_port}:
                        await self._listen(lambda: DirectTls(table), address, port, "standard")
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the ports and every connection, and wait until nothing of them is left. May be called twice."""
        listeners, self._listeners = self._listeners, []
        await _stop_accepting(listeners)
        for listener in listeners:
            listener.close()
        if self._table is not None and self._http is not None:
            self._table.close()
            await self._http.stop(STOP_TIMEOUT)
            await self._table.wait_until_empty(STOP_TIMEOUT)
        for listener in listeners:
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(listener.wait_closed(), STOP_TIMEOUT)

    def _renewed(self) -> AcceptingContext | None:
        """New TLS settings where the certificate is a new one. Where it cannot be used, the old one serves on."""
        self._outdated = self._renew() or self._outdated
        if not self._outdated:
            return None
        try:
            context = AcceptingContext(self._certificate_file, self._key_file)
        except ssl.SSLError as error:
            _LOGGER.warning("the renewed server certificate does not serve: %s", error.args[-1])
            return None
        self._outdated = False
        return context

    def _address(self) -> str:
        """The address to listen on.

        Raises:
            ListenError: it is none, or lets other machines in without leave.
        """
        bind = "127.0.0.1" if self._bind.lower() == "localhost" else self._bind
        try:
            address = ipaddress.ip_address(bind)
        except ValueError as error:
            raise ListenError(f"{self._bind!r:.260} is not an IP address; use 127.0.0.1 or ::1.") from error
        if not address.is_loopback and not self._allow_remote:
            raise ListenError(
                f"{bind} would let other machines in, and the simulator's keys are for learning only. "
                "Use 127.0.0.1, or allow remote connections explicitly."
            )
        return bind

    async def _listen(self, protocol: Callable[[], asyncio.Protocol], address: str, port: int, purpose: str) -> int:
        """Open one port; returns its number."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = AcceptingSocket(
            family, turned_away=self._turned_away, answer=refusal(503, _FULL) if purpose == "proxy" else b""
        )
        try:
            if os.name == "posix":
                # lets a restarted simulator have its port back at once; elsewhere it would let two share it
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, port))
            listener = await asyncio.get_running_loop().create_server(protocol, sock=listening, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            listening.close()
            raise ListenError(_explain(error, address, port, purpose)) from error
        self._listeners.append(listener)
        return int(listening.getsockname()[1])

    def _turned_away(self) -> None:
        """Say that there is no room: in the trace at most once a second, in the log once a minute."""
        now = time.monotonic()
        self._away += 1
        reason = f"{_FULL} There are {self.open_connections}, and {self._away} more were turned away since the start."
        if now - self._traced >= _TRACE_PAUSE:
            self._traced = now
            self._frontend.connection_refused("", reason)
        if now - self._logged >= _LOG_PAUSE:
            self._logged = now
            _LOGGER.warning("%s", reason)


async def _stop_accepting(listeners: Iterable[asyncio.Server]) -> None:
    """Accept nothing more, but let what was just accepted become a connection.

    ``asyncio.Server.close`` loses sockets that were accepted in the same turn of the loop; they would stay open.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        for listening in listener.sockets:
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.remove_reader(listening.fileno())
    # one turn makes the transport, the next tells its protocol
    for _ in range(3):
        await asyncio.sleep(0)


def _explain(error: OSError | OverflowError, address: str, port: int, purpose: str) -> str:
    """Words for a port that cannot be opened."""
    place = f"The {purpose} port {port} on {address}"
    if isinstance(error, OverflowError):
        return f"{place} does not exist; ports go from 1 to 65535, and 0 means any free one."
    if error.errno == errno.EADDRINUSE:
        return f"{place} is taken by another program. Stop that program, or choose another port (0 means any free one)."
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{place} needs privileges. Choose a port above 1023, or run with the right to bind low ports."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{place} cannot be opened: this machine does not have that address. Use 127.0.0.1."
    return f"{place} cannot be opened: {error.strerror or error}."
