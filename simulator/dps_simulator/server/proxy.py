"""The HTTP CONNECT proxy: a client asks for a host by name and gets TLS with the simulator, whatever the port.

It forwards nothing. A target that is not simulated is refused, so no byte meant for Azure ever leaves the machine.

Source: RFC 9110, section 9.3.6.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import cast

from dps_simulator.errors.masking import mask_in_name
from dps_simulator.errors.table import ascii_json

from .connections import Connection, ConnectionTable
from .newcomers import WEIGHT_BEFORE_GREETING

#: Bytes of a request head, from the method to the empty line.
MAX_HEAD = 8_192
#: Seconds for the whole head.
HEAD_TIMEOUT = 10.0
#: Seconds for a refused client to read the answer and go.
LINGER = 2.0

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.[01]")
_TARGET = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})")


class _RefusedError(Exception):
    """The request is answered with an error status."""

    def __init__(self, status: int, reason: str) -> None:
        reason = mask_in_name(reason)
        super().__init__(reason)
        self.status = status
        self.reason = reason


def refusal(status: int, reason: str) -> bytes:
    """The answer that refuses a request."""
    body = ascii_json({"message": reason})
    allow = "Allow: CONNECT\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"X-Reason: {reason}\r\n"
        f"{allow}"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class ConnectProxy(asyncio.Protocol):
    """One connection to the proxy port, until it turns into TLS.

    Arguments:
        table: the server's connections.
    """

    def __init__(self, table: ConnectionTable) -> None:
        self._table = table
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._connection: Connection
        self._deadline: asyncio.TimerHandle
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came; it has some seconds to say where it wants to go."""
        self._transport = cast(asyncio.Transport, transport)
        self._connection = self._table.add(self._transport)
        self._deadline = self._table.loop.call_later(HEAD_TIMEOUT, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Collect the head; answer when it is complete."""
        if self._answered:
            return
        searched = max(0, len(self._head) - 3)
        self._head += data
        end = _END_OF_HEAD.search(self._head, searched)
        try:
            if end is None or end.end() > MAX_HEAD:
                self._check_beginning()
                if len(self._head) > MAX_HEAD:
                    raise _RefusedError(431, f"The request head is longer than {MAX_HEAD} bytes.")
                self._connection.weighs(WEIGHT_BEFORE_GREETING + len(self._head))
                return
            if end.end() < len(self._head):
                raise _RefusedError(400, "There are bytes after the request head; wait for the answer to CONNECT.")
            host = self._target(bytes(self._head[: end.start()]))
        except _RefusedError as refusal:
            self._refuse(refusal.status, refusal.reason)
            return
        self._answered = True
        self._deadline.cancel()
        self._connection.host = host
        self._connection.touch()
        self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._connection.start_tls()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went before there was a tunnel."""
        self._deadline.cancel()
        self._connection.ended()

    def _check_beginning(self) -> None:
        """Tell at once what can never become a request."""
        first = self._head[:1]
        if first == b"\x16":
            raise _RefusedError(
                400, "This is the proxy port, which begins with an HTTP CONNECT request; TLS has its own port."
            )
        if first and not first.isalpha():
            raise _RefusedError(400, "This is not an HTTP request. This port is an HTTP CONNECT proxy.")

    def _target(self, head: bytes) -> str:
        """The host name that a complete request head asks for.

        Raises:
            _RefusedError: it asks for something else, or for a host that is not simulated.
        """
        self._check_beginning()
        line = head.splitlines()[0].decode("latin-1")
        request = _REQUEST_LINE.fullmatch(line)
        if request is None:
            raise _RefusedError(400, f"{line!a:.120} is not an HTTP/1.1 request line.")
        method, target = request[1], request[2]
        if method != "CONNECT":
            raise _RefusedError(405, f"{method:.40} is not supported by this simulator's proxy; only CONNECT is.")
        place = _TARGET.fullmatch(target)
        if place is None or not 0 < int(place[2]) <= 65_535:
            raise _RefusedError(400, f"{target!a:.260} is not a CONNECT target; expected HOST:PORT.")
        host = place[1].strip("[]").lower().rstrip(".")
        if not self._table.frontend.is_known_host(host):
            self._connection.host = host
            raise _RefusedError(403, f"The host {host!a:.260} is not simulated here, and this proxy forwards nothing.")
        return host

    def _too_slow(self) -> None:
        self._refuse(408, f"The request head did not arrive within {HEAD_TIMEOUT:g} seconds.")

    def _refuse(self, status: int, reason: str) -> None:
        """Answer with an error, tell the frontend, close."""
        self._answered = True
        self._deadline.cancel()
        self._transport.write(refusal(status, reason))
        self._connection.refused(reason)
        # what the client still sends is read and dropped: closing on unread bytes would reset the connection and could
        # take the answer away from the client
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._deadline = self._table.loop.call_later(LINGER, self._transport.abort)
